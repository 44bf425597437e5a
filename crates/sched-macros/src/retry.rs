//! The attribute `retry`: how often a run that failed is tried again, and when.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

use crate::attributes::{Attributes, check_keys, duration, is_name};
use crate::faults::Faults;
use crate::json::{Entry, Json, Value};

const KEYS: &[&str] = &["max_attempts", "backoff", "jitter", "only"];
const BACKOFF_KEYS: &[&str] = &["first", "factor", "max"];

/// Reads `retry = 3` or `retry(max_attempts = 3, …)`, as an expression of type `Arc<Retry>`.
pub(crate) fn read(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    let Entry { value: Json { span, value }, .. } = attributes.entry("retry")?;
    let rule = match &value {
        Value::Object(entries) => {
            check_keys("retry", entries, KEYS, faults);
            let of = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
            let Some(count) = of("max_attempts").and_then(|value| attempts(&value.value)) else {
                faults.at(span, "`retry` needs `max_attempts`, a positive integer");
                return None;
            };
            let backoff = of("backoff").and_then(|value| backoff(value, root, faults));
            let jitter = of("jitter").and_then(|value| duration_of("jitter", value, faults));
            let jitter = jitter.map(|jitter| quote!(.jitter(#jitter)));
            let only = of("only").and_then(|value| only(value, root, faults));
            quote!(#root::Retry::new(#count) #backoff #jitter #only)
        }
        count => match attempts(count) {
            Some(count) => quote!(#root::Retry::new(#count)),
            None => {
                faults.at(span, "`retry` must be a positive integer, or `retry(max_attempts = 3, …)`");
                return None;
            }
        },
    };
    Some(quote!(::std::sync::Arc::new(#rule)))
}

fn attempts(value: &Value) -> Option<u32> {
    match value {
        Value::Integer(count) => u32::try_from(*count).ok().filter(|count| *count > 0),
        _ => None,
    }
}

fn backoff(json: &Json, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    let Value::Object(entries) = &json.value else {
        let pause = duration_of("backoff", json, faults)?;
        return Some(quote!(.backoff(#root::Backoff::Fixed(#pause))));
    };
    check_keys("backoff", entries, BACKOFF_KEYS, faults);
    let of = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
    let first = match of("first") {
        Some(value) => duration_of("first", value, faults)?,
        None => tokens(Duration::from_secs(1)),
    };
    let max = match of("max") {
        Some(value) => duration_of("max", value, faults)?,
        None => tokens(Duration::from_secs(300)),
    };
    let factor = match of("factor").map(|json| (&json.value, json.span)) {
        None => 2.0,
        Some((Value::Float(factor), _)) if (1.0..=1_000.0).contains(factor) => *factor,
        Some((Value::Integer(factor), _)) if (1..=1_000).contains(factor) => {
            f64::from(i32::try_from(*factor).ok()?)
        }
        Some((_, span)) => {
            faults.at(span, "`factor` must be a number from 1 to 1000");
            return None;
        }
    };
    Some(quote!(.backoff(#root::Backoff::exponential(#first, #factor, #max))))
}

fn only(json: &Json, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    let single = std::slice::from_ref(json);
    let items = if let Value::Array(items) = &json.value { items.as_slice() } else { single };
    let mut words = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Text(word) if is_name(word) => words.push(word.as_str()),
            _ => {
                faults.at(item.span, "`only` must be a list of kinds of failures, such as [\"timed_out\"]");
                return None;
            }
        }
    }
    Some(quote!(.only([#(#root::RetryKind::from(#words)),*])))
}

fn duration_of(key: &str, json: &Json, faults: &mut Faults) -> Option<TokenStream> {
    let read = duration(&json.value);
    if read.is_none() {
        faults.at(json.span, format_args!("`{key}` must be a duration: seconds, or text such as \"1h 30m\""));
    }
    read.map(tokens)
}

fn tokens(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}
