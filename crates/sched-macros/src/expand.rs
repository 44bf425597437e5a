//! What the attributes turn a function into.
//!
//! The companion of a function `report` is an empty enum `report`: functions and types have separate names, so both
//! exist, `use tasks::report` brings both, and unlike a module an enum sees the same names as the function does,
//! also inside a function's body. Everything else lives in an anonymous constant and has names that start with
//! `__sched`. All paths are absolute, so that nothing the user defines can get in the way.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, ItemFn};

use crate::attributes::Attributes;
use crate::faults::Faults;
use crate::function::{Function, Parameter};
use crate::options::{TaskOptions, json};
use crate::schedule::{self, Schedule};

/// The expansion of `#[task]`.
pub(crate) fn task(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |function, faults| {
        let mut attributes = Attributes::parse(attributes, faults)?;
        let options = TaskOptions::read(&mut attributes, function, faults);
        attributes.finish(("scheduled", schedule::ATTRIBUTES), faults);
        Some(Expansion::new(function, &options, None).tokens())
    })
}

/// The expansion of `#[scheduled]`.
pub(crate) fn scheduled(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand(item, |function, faults| {
        let mut attributes = Attributes::parse(attributes, faults)?;
        let options = TaskOptions::read(&mut attributes, function, faults);
        let schedule = Schedule::read(&mut attributes, function, faults);
        attributes.finish(("task", &[]), faults);
        Some(Expansion::new(function, &options, schedule.as_ref()).tokens())
    })
}

/// The function stays as it is; with it comes what `generate` makes, or every fault.
fn expand(
    item: TokenStream,
    generate: impl FnOnce(&Function, &mut Faults) -> Option<TokenStream>,
) -> TokenStream {
    let parsed: ItemFn = match syn::parse2(item.clone()) {
        Ok(parsed) => parsed,
        Err(_) => {
            let error =
                quote_spanned!(item.span()=> ::core::compile_error!("a task is a function with a body"););
            return quote!(#error #item);
        }
    };
    let mut faults = Faults::default();
    let function = Function::new(&parsed, &mut faults);
    let generated = generate(&function, &mut faults);
    let generated = faults.compile_errors().or(generated);
    quote!(#item #generated)
}

/// A span that reports at `place` and still counts as generated.
fn generated_at(place: Span) -> Span {
    Span::call_site().located_at(place)
}

struct Expansion<'a> {
    function: &'a Function,
    /// The function's name where it stands, but marked as generated: lints leave alone what is made under it.
    ident: Ident,
    options: &'a TaskOptions,
    schedule: Option<&'a Schedule>,
}

impl<'a> Expansion<'a> {
    fn new(function: &'a Function, options: &'a TaskOptions, schedule: Option<&'a Schedule>) -> Self {
        let mut ident = function.ident.clone();
        ident.set_span(generated_at(ident.span()));
        Self { function, ident, options, schedule }
    }

    fn tokens(&self) -> TokenStream {
        let Function { cfgs, .. } = self.function;
        let (companion, run, submissions) = (self.companion(), self.run(), self.submissions());
        let (decode, answer) = (self.decode(), self.answer());
        let task = self.task();
        quote! {
            #companion
            #(#cfgs)*
            const _: () = {
                #decode
                #answer
                #run
                #task
                #submissions
            };
        }
    }

    /// The empty enum with the functions that users call, save `task`.
    fn companion(&self) -> TokenStream {
        let Function { visibility, cfgs, parameters, .. } = self.function;
        let (ident, root, name) = (&self.ident, &self.options.root, &self.options.name);
        let (idents, types): (Vec<_>, Vec<_>) = parameters.iter().map(|it| (&it.ident, &it.ty)).unzip();
        let summary = format!("The task `{name}`, made by an attribute on the function of the same name.");
        let (encode, args) = match parameters.is_empty() {
            true => (None, quote!(#root::Args::default())),
            false => (Some(self.encode()), quote!(Self::__sched_args(#(#idents),*))),
        };
        quote! {
            #(#cfgs)*
            #[doc = #summary]
            #visibility enum #ident {}

            #(#cfgs)*
            impl #ident {
                /// The name under which the task is registered.
                #visibility const NAME: &'static str = #name;

                /// A job of the task with these arguments.
                #visibility fn job(#(#idents: #types),*) -> #root::JobBuilder {
                    #root::JobBuilder::task(Self::NAME).args(#args)
                }

                /// A call of the task with these arguments, without a schedule.
                #visibility fn call(#(#idents: #types),*) -> #root::Call {
                    #root::Call::named(Self::NAME, #args)
                }

                #encode
            }
        }
    }

    /// `__sched_args`. An argument that cannot be encoded becomes a named one that no task accepts, so that adding
    /// the job or the run fails and says why.
    fn encode(&self) -> TokenStream {
        let (root, parameters) = (&self.options.root, &self.function.parameters);
        let (idents, types): (Vec<_>, Vec<_>) = parameters.iter().map(|it| (&it.ident, &it.ty)).unzip();
        let names = parameters.iter().map(Parameter::name);
        let encoders = idents.iter().map(|ident| quote_spanned!(generated_at(ident.span())=> to_value));
        quote! {
            fn __sched_args(#(#idents: #types),*) -> #root::Args {
                let encoded = [#((#names, #root::__private::serde_json::value::#encoders(#idents))),*];
                let mut refused = #root::__private::serde_json::Map::new();
                let mut accepted = ::std::vec::Vec::with_capacity(encoded.len());
                for (name, value) in encoded {
                    accepted.push(value.unwrap_or_else(|error| {
                        let reason = ::std::format!("{name} (which cannot be encoded: {error})");
                        refused.insert(reason, #root::__private::serde_json::Value::Null);
                        #root::__private::serde_json::Value::Null
                    }));
                }
                #root::Args::new(accepted, refused)
            }
        }
    }

    /// `__sched_decode`: the arguments as a tuple.
    fn decode(&self) -> Option<TokenStream> {
        if self.function.parameters.is_empty() {
            return None;
        }
        let root = &self.options.root;
        let types = self.function.parameters.iter().map(|parameter| &parameter.ty);
        let values = self.function.parameters.iter().enumerate().map(|(index, parameter)| {
            let (name, ty) = (parameter.name(), &parameter.ty);
            let missing = match parameter.optional {
                true => quote!(#root::__private::serde_json::Value::Null),
                false => {
                    let message = format!("argument `{name}` is missing");
                    quote!(return ::core::result::Result::Err(#root::TaskError::arguments(#message)))
                }
            };
            let wrong = format!("argument `{name}`: {{:.200}}");
            let from_value = quote_spanned!(generated_at(ty.span())=> from_value);
            quote! {
                #root::__private::serde_json::#from_value::<#ty>(match args.get(#index, #name) {
                    ::core::option::Option::Some(value) => ::core::clone::Clone::clone(value),
                    ::core::option::Option::None => #missing,
                })
                .map_err(|error| #root::TaskError::arguments(
                    ::core::format_args!(#wrong, ::std::string::ToString::to_string(&error)),
                ))?
            }
        });
        Some(quote! {
            fn __sched_decode(
                args: &#root::Args,
            ) -> ::core::result::Result<(#(#types,)*), #root::TaskError> {
                ::core::result::Result::Ok((#(#values,)*))
            }
        })
    }

    /// `__SchedAnswer` tells a `Result`, also under an alias, from a plain value: the inherent method wins where it
    /// exists. Its bound is on the method, so that an error that cannot be shown is refused, not taken for a value.
    fn answer(&self) -> Option<TokenStream> {
        self.function.output?;
        let root = &self.options.root;
        Some(quote! {
            struct __SchedAnswer<T>(T);

            impl<T, E> __SchedAnswer<::core::result::Result<T, E>> {
                fn __sched_split(self) -> ::core::result::Result<T, #root::TaskError>
                where
                    E: ::core::fmt::Display + 'static,
                {
                    self.0.map_err(|error| #root::TaskError::from_display(&error))
                }
            }

            trait __SchedPlain<T> {
                fn __sched_split(self) -> ::core::result::Result<T, #root::TaskError>;
            }

            impl<T> __SchedPlain<T> for __SchedAnswer<T> {
                fn __sched_split(self) -> ::core::result::Result<T, #root::TaskError> {
                    ::core::result::Result::Ok(self.0)
                }
            }
        })
    }

    /// `__sched_run`: decodes, calls, encodes the answer.
    fn run(&self) -> TokenStream {
        let Function { parameters, context, is_async, output, .. } = self.function;
        let (ident, root) = (&self.ident, &self.options.root);
        let decode = (!parameters.is_empty()).then(|| quote!(let decoded = __sched_decode(args)?;));
        let mut next = 0..;
        let inputs = (0..parameters.len() + usize::from(context.is_some())).map(|position| match context {
            Some(at) if *at == position => quote!(context),
            _ => {
                let field = syn::Index::from(next.next().unwrap_or_default());
                quote!(decoded.#field)
            }
        });
        let awaiting = is_async.then(|| quote!(.await));
        let call = quote!(#ident(#(#inputs),*) #awaiting);
        let null = quote!(::core::result::Result::Ok(#root::__private::serde_json::Value::Null));
        let answer = match output {
            None => quote!(#call; #null),
            Some(place) => {
                let split = quote_spanned!(generated_at(*place)=> __sched_split);
                let to_value = quote_spanned!(generated_at(*place)=> to_value);
                let value = quote_spanned!(generated_at(*place)=> value);
                quote! {
                    let #value = __SchedAnswer(#call).#split()?;
                    #root::__private::serde_json::#to_value(#value).map_err(|error| #root::TaskError::new(
                        ::core::format_args!("the result cannot be encoded: {error}"),
                    ))
                }
            }
        };
        let context = if context.is_some() { format_ident!("context") } else { format_ident!("_context") };
        let args = if decode.is_some() { format_ident!("args") } else { format_ident!("_args") };
        let asynchronous = is_async.then(|| quote!(async));
        let deprecated = self.function.is_deprecated.then(|| {
            quote!(#[expect(deprecated, reason = "whoever schedules the function is told, not this call")])
        });
        quote! {
            #deprecated
            #asynchronous fn __sched_run(#context: &#root::RunContext, #args: &#root::Args) -> #root::TaskResult {
                #decode
                #answer
            }
        }
    }

    /// The companion's `task`: the body with its limits, its parameters and their check.
    fn task(&self) -> TokenStream {
        let Function { visibility, parameters, .. } = self.function;
        let (ident, root) = (&self.ident, &self.options.root);
        let (names, optional) =
            (parameters.iter().map(Parameter::name), parameters.iter().map(|it| it.optional));
        let check = (!parameters.is_empty())
            .then(|| quote!(.with_check(|args| __sched_decode(args).map(::core::mem::drop))));
        let limit = self.options.max_instances.map(|limit| quote!(.with_max_instances(#limit)));
        let settings = (!self.options.settings.is_empty()).then(|| {
            let (fields, values): (Vec<_>, Vec<_>) = self.options.settings.iter().cloned().unzip();
            let fields = fields.iter().map(|field| Ident::new(field, Span::call_site()));
            quote! {
                .with_settings({
                    let mut settings = #root::JobSettings::default();
                    #(settings.#fields = ::core::option::Option::Some(#values);)*
                    settings
                })
            }
        });
        let body = self.body();
        quote! {
            impl #ident {
                /// The task itself, for a registry that is built by hand.
                #visibility fn task() -> #root::Task {
                    #root::Task::from_body(Self::NAME, #body)
                        .with_signature(&[#(#root::Param { name: #names, optional: #optional }),*])
                        #check
                        #limit
                        #settings
                }
            }
        }
    }

    fn body(&self) -> TokenStream {
        let root = &self.options.root;
        if !self.function.is_async {
            return quote!(#root::TaskBody::Sync(::std::sync::Arc::new(__sched_run)));
        }
        let boxed = quote_spanned! {self.ident.span()=>
            ::std::boxed::Box::pin(async move { __sched_run(&context, &args).await })
        };
        quote! {
            #root::TaskBody::Async(::std::sync::Arc::new(
                |context: #root::RunContext, args: #root::Args| -> #root::TaskFuture { #boxed },
            ))
        }
    }

    /// What joins the registry at link time.
    fn submissions(&self) -> TokenStream {
        let (ident, root) = (&self.ident, &self.options.root);
        let declared = self.schedule.map(|schedule| {
            let id = schedule.id.as_ref().unwrap_or(&self.options.name);
            let trigger = json(root, &schedule.trigger);
            let args = schedule.args.as_ref().map(|args| json(root, args)).map(|args| quote!(.args(#args)));
            let store = schedule.store.as_ref().map(|alias| quote!(.store(#alias)));
            quote! {
                fn __sched_declared() -> #root::JobBuilder {
                    #root::JobBuilder::task(#ident::NAME).id(#id).trigger(#trigger) #args #store.replace_existing()
                }

                #root::__private::inventory::submit! {
                    #root::DeclaredJob { job: __sched_declared }
                }
            }
        });
        quote! {
            #root::__private::inventory::submit! {
                #root::TaskEntry { task: #ident::task }
            }
            #declared
        }
    }
}
