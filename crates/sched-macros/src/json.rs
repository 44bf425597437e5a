//! The literals an attribute can hold: JSON, with `key = value` and `key(…)` beside `key: value`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Lit, LitStr, Token, braced, bracketed, parenthesized, token};

/// A literal and where it stands.
#[derive(Clone)]
pub(crate) struct Json {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a literal is.
#[derive(Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<Entry>),
}

/// One `key = value`.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) span: Span,
    pub(crate) key: String,
    pub(crate) value: Json,
}

impl Entry {
    /// An entry that stands nowhere in the source but belongs to what is at `span`.
    pub(crate) fn new(span: Span, key: &str, value: Value) -> Self {
        Self { span, key: key.to_owned(), value: Json { span, value } }
    }

    /// Reads entries up to the end of `input`.
    pub(crate) fn list(input: ParseStream<'_>) -> syn::Result<Vec<Self>> {
        Ok(Punctuated::<Self, Token![,]>::parse_terminated(input)?.into_iter().collect())
    }
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let span = input.span();
        let quoted = input.peek(LitStr);
        let key = if quoted {
            input.parse::<LitStr>()?.value()
        } else if input.peek(Ident::peek_any) {
            input.call(Ident::parse_any)?.unraw().to_string()
        } else {
            return Err(input.error("expected `name = value`"));
        };
        if input.peek(token::Paren) {
            let inner;
            let parens = parenthesized!(inner in input);
            let value = Value::Object(Self::list(&inner)?);
            return Ok(Self { span, key, value: Json { span: parens.span.join(), value } });
        }
        if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
        } else if input.peek(Token![:]) {
            input.parse::<Token![:]>()?;
        } else {
            let message = match quoted {
                true => format!("expected `name = value`, such as `name = \"{key}\"`"),
                false => format!("`{key}` needs a value, as in `{key} = …`"),
            };
            return Err(syn::Error::new(span, message));
        }
        Ok(Self { span, key, value: input.parse()? })
    }
}

impl Parse for Json {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let span = input.span();
        if input.peek(token::Bracket) {
            let inner;
            let brackets = bracketed!(inner in input);
            let items = Punctuated::<Self, Token![,]>::parse_terminated(&inner)?;
            return Ok(Self { span: brackets.span.join(), value: Value::Array(items.into_iter().collect()) });
        }
        if input.peek(token::Brace) {
            let inner;
            let braces = braced!(inner in input);
            return Ok(Self { span: braces.span.join(), value: Value::Object(Entry::list(&inner)?) });
        }
        if input.peek(Ident) && input.fork().parse::<Ident>().is_ok_and(|word| word == "null") {
            input.parse::<Ident>()?;
            return Ok(Self { span, value: Value::Null });
        }
        let negative = input.parse::<Option<Token![-]>>()?.is_some();
        if !input.peek(Lit) {
            return Err(input.error("expected a literal: text, a number, true, false, null, […] or {…}"));
        }
        Ok(Self { span, value: scalar(&input.parse()?, negative)? })
    }
}

fn scalar(literal: &Lit, negative: bool) -> syn::Result<Value> {
    let sign = if negative { "-" } else { "" };
    match literal {
        Lit::Str(text) if !negative => Ok(Value::Text(text.value())),
        Lit::Bool(flag) if !negative => Ok(Value::Bool(flag.value)),
        Lit::Int(number) => format!("{sign}{}", number.base10_digits())
            .parse()
            .map(Value::Integer)
            .map_err(|_| syn::Error::new(literal.span(), "the number does not fit 64 bits")),
        Lit::Float(number) => match format!("{sign}{}", number.base10_digits()).parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(syn::Error::new(literal.span(), "the number is not finite")),
        },
        _ => Err(syn::Error::new(literal.span(), "expected text, a number, true, false or null")),
    }
}

impl ToTokens for Json {
    /// The tokens that `serde_json::json!` reads.
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(match &self.value {
            Value::Null => quote!(null),
            Value::Bool(flag) => quote!(#flag),
            Value::Integer(number) => quote!(#number),
            Value::Float(number) => quote!(#number),
            Value::Text(text) => quote!(#text),
            Value::Array(items) => quote!([#(#items),*]),
            Value::Object(entries) => {
                let (keys, values) =
                    (entries.iter().map(|entry| &entry.key), entries.iter().map(|entry| &entry.value));
                quote!({ #(#keys: #values),* })
            }
        });
    }
}
