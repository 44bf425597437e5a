//! The function under the attribute, and whether it can be a task.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, ItemFn, Pat, PatType, ReturnType, Safety, Signature, Type, TypeReference, Visibility,
};

use crate::faults::Faults;

/// A function that can be a task.
pub(crate) struct Function {
    pub(crate) ident: Ident,
    pub(crate) visibility: Visibility,
    /// The `cfg` attributes, which everything generated must share.
    pub(crate) cfgs: Vec<Attribute>,
    pub(crate) is_deprecated: bool,
    pub(crate) is_async: bool,
    pub(crate) parameters: Vec<Parameter>,
    /// Where among all parameters the `&RunContext` stands.
    pub(crate) context: Option<usize>,
    /// What it returns; `None` when nothing.
    pub(crate) output: Option<Span>,
}

/// A parameter that takes an argument.
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) optional: bool,
}

impl Parameter {
    /// Its name as arguments spell it.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

impl Function {
    /// Takes the function apart. What cannot be part of a task is a fault.
    pub(crate) fn new(item: &ItemFn, faults: &mut Faults) -> Self {
        check_qualifiers(&item.sig, faults);
        let (mut parameters, mut context) = (Vec::new(), None);
        for (index, input) in item.sig.inputs.iter().enumerate() {
            match input {
                FnArg::Receiver(receiver) => {
                    faults.at(receiver.span(), "a task is a free function, it cannot take `self`");
                }
                FnArg::Typed(typed) if is_context(&typed.ty, faults) => {
                    if context.replace(index).is_some() {
                        faults.at(typed.span(), "a task takes at most one `&RunContext`");
                    }
                }
                FnArg::Typed(typed) => parameters.extend(parameter(typed, faults)),
            }
        }
        Self {
            ident: item.sig.ident.clone(),
            visibility: item.vis.clone(),
            cfgs: item.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect(),
            is_deprecated: item.attrs.iter().any(|attribute| attribute.path().is_ident("deprecated")),
            is_async: item.sig.asyncness.is_some(),
            parameters,
            context,
            output: match &item.sig.output {
                ReturnType::Default => None,
                ReturnType::Type(_, ty) => Some(ty.span()),
            },
        }
    }

    /// The function's name as text.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }
}

fn check_qualifiers(signature: &Signature, faults: &mut Faults) {
    if let Some(token) = &signature.constness {
        faults.at(token.span(), "a task cannot be a `const fn`");
    }
    match &signature.safety {
        Safety::Unsafe(token) => faults.at(token.span(), "a task cannot be an `unsafe fn`"),
        Safety::Safe(token) => faults.at(token.span(), "a task cannot be a `safe fn`"),
        _ => {}
    }
    if let Some(abi) = &signature.abi {
        faults.at(abi.span(), "a task cannot be an `extern fn`");
    }
    if let Some(variadic) = &signature.variadic {
        faults.at(variadic.span(), "a task cannot be variadic");
    }
    let generics = &signature.generics;
    if !generics.params.is_empty() {
        let message =
            "a task cannot be generic: its arguments are stored and decoded without a caller to choose types";
        faults.at(generics.span(), message);
    } else if let Some(clause) = &generics.where_clause {
        faults.at(clause.span(), "a task cannot have a `where` clause");
    }
}

/// Whether this is the parameter for the run's context; an owned or mutable one is a fault.
fn is_context(ty: &Type, faults: &mut Faults) -> bool {
    match ty {
        Type::Group(group) => is_context(&group.elem, faults),
        Type::Paren(paren) => is_context(&paren.elem, faults),
        Type::Reference(reference) if ends_in(&reference.elem, "RunContext") => {
            if reference.mutability.is_some() {
                faults.at(ty.span(), "the context of a run cannot be changed: take it as `&RunContext`");
            }
            true
        }
        Type::Path(_) if ends_in(ty, "RunContext") => {
            faults.at(ty.span(), "take the context of the run as `&RunContext`");
            true
        }
        _ => false,
    }
}

fn ends_in(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Group(group) => ends_in(&group.elem, name),
        Type::Paren(paren) => ends_in(&paren.elem, name),
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        _ => false,
    }
}

fn parameter(typed: &PatType, faults: &mut Faults) -> Option<Parameter> {
    check_type(&typed.ty, faults);
    match &*typed.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            let (ident, ty) = (pat.ident.clone(), Type::clone(&typed.ty));
            let optional = ends_in(&ty, "Option");
            Some(Parameter { ident, ty, optional })
        }
        pat => {
            faults.at(pat.span(), "a parameter of a task needs a plain name, which arguments are given by");
            None
        }
    }
}

/// Arguments are stored, so their types must own their data and be known here.
fn check_type(ty: &Type, faults: &mut Faults) {
    if let Type::Reference(reference) = ty {
        let message =
            format!("arguments are stored, so a task cannot borrow them: use `{}`", owned(reference));
        return faults.at(ty.span(), message);
    }
    match borrowed_or_opaque(ty.to_token_stream()) {
        Some(Trouble::Borrowed) => {
            faults.at(
                ty.span(),
                "arguments are stored, so a task cannot borrow them: use a type that owns its data",
            );
        }
        Some(Trouble::Opaque) => {
            faults.at(
                ty.span(),
                "arguments are stored, so their types must be named: `impl Trait` cannot be decoded",
            );
        }
        None => {}
    }
}

fn owned(reference: &TypeReference) -> String {
    match &*reference.elem {
        Type::Slice(slice) => format!("Vec<{}>", slice.elem.to_token_stream()),
        elem if ends_in(elem, "str") => "String".to_owned(),
        elem if ends_in(elem, "Path") => "PathBuf".to_owned(),
        elem => elem.to_token_stream().to_string(),
    }
}

enum Trouble {
    Borrowed,
    Opaque,
}

/// Looks through the tokens of a type for a reference, a lifetime other than `'static`, or `impl`.
fn borrowed_or_opaque(tokens: TokenStream) -> Option<Trouble> {
    let mut after_quote = false;
    for token in tokens {
        let found = match token {
            TokenTree::Group(group) => borrowed_or_opaque(group.stream()),
            TokenTree::Punct(punct) if punct.as_char() == '&' => Some(Trouble::Borrowed),
            TokenTree::Punct(punct) if punct.as_char() == '\'' => {
                after_quote = true;
                continue;
            }
            TokenTree::Ident(ident) if after_quote && ident != "static" => Some(Trouble::Borrowed),
            TokenTree::Ident(ident) if ident == "impl" => Some(Trouble::Opaque),
            _ => None,
        };
        after_quote = false;
        if found.is_some() {
            return found;
        }
    }
    None
}
