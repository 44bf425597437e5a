//! The attributes a task can have: its name, its options, and where `sched` is found.

use std::time::Duration;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

use crate::attributes::{Attributes, duration};
use crate::faults::Faults;
use crate::function::Function;
use crate::json::{Json, Value};

/// What the attributes say of the task.
pub(crate) struct TaskOptions {
    /// Where the items of `sched` are found.
    pub(crate) root: Path,
    /// The name under which it is registered.
    pub(crate) name: String,
    /// The limit over all its jobs.
    pub(crate) max_instances: Option<u32>,
    /// The fields of its `JobSettings` that are given, each with its value.
    pub(crate) settings: Vec<(&'static str, TokenStream)>,
}

impl TaskOptions {
    /// Takes the attributes of a task out.
    pub(crate) fn read(attributes: &mut Attributes, function: &Function, faults: &mut Faults) -> Self {
        let name = attributes.text("name", faults).unwrap_or_else(|| function.name());
        let root = root(attributes, faults);
        let max_instances = attributes.count("max_instances", faults);
        let settings = [
            (
                "executor",
                attributes.text("executor", faults).map(|alias| quote!(::std::sync::Arc::from(#alias))),
            ),
            ("misfire_grace_time", grace(attributes, &root, faults)),
            ("coalesce", coalesce(attributes, &root, faults)),
            ("max_instances", max_instances.map(|limit| quote!(#limit))),
            ("overlap", overlap(attributes, &root, faults)),
            ("jitter", attributes.duration("jitter", faults).map(duration_tokens)),
            ("max_catch_up", attributes.count("max_catch_up", faults).map(|limit| quote!(#limit))),
            ("retain", retain(attributes, &root, faults)),
            ("timeout", timeout(attributes, faults)),
            ("timeout_slot", timeout_slot(attributes, &root, faults)),
            ("retry", crate::retry::read(attributes, &root, faults)),
            ("max_takeovers", attributes.count("max_takeovers", faults).map(|limit| quote!(#limit))),
            ("priority", priority(attributes, faults)),
            ("result_ttl", attributes.duration("result_ttl", faults).map(duration_tokens)),
            (
                "concurrency_key",
                attributes.text("concurrency_key", faults).map(|key| quote!(::std::sync::Arc::from(#key))),
            ),
            ("concurrency_limit", attributes.count("concurrency_limit", faults).map(|limit| quote!(#limit))),
            ("metadata", metadata(attributes, &root, faults)),
        ];
        let given = settings.into_iter().filter_map(|(field, value)| Some((field, value?)));
        Self { root, name, max_instances, settings: given.collect() }
    }
}

/// The path of the crate: `sched` when not given; one that does not start at `crate`, `self` or `super` is taken
/// from the root.
fn root(attributes: &mut Attributes, faults: &mut Faults) -> Path {
    let expected = "the path of the crate that holds `sched`, such as `crate = \"sched_core\"`";
    let given = attributes.read("crate", expected, faults, |value| match value {
        Value::Text(text) => syn::parse_str::<Path>(text).ok(),
        _ => None,
    });
    let mut path = given.unwrap_or_else(|| syn::parse_quote!(::sched));
    let relative = path
        .segments
        .first()
        .is_some_and(|first| ["crate", "self", "super"].iter().any(|keyword| first.ident == keyword));
    if !relative {
        path.leading_colon.get_or_insert_with(Default::default);
    }
    path
}

fn grace(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    let expected = "a positive duration (seconds, or text such as \"1h 30m\") or \"none\"";
    attributes.read("misfire_grace_time", expected, faults, |value| match value {
        Value::Text(text) if text.trim().eq_ignore_ascii_case("none") => {
            Some(quote!(#root::Grace::Unlimited))
        }
        _ => positive(value).map(|limit| {
            let limit = duration_tokens(limit);
            quote!(#root::Grace::Within(#limit))
        }),
    })
}

fn coalesce(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    attributes.read("coalesce", "a boolean or one of \"latest\", \"earliest\", \"all\"", faults, |value| {
        match value {
            Value::Bool(true) => Some(quote!(#root::Coalesce::Latest)),
            Value::Bool(false) => Some(quote!(#root::Coalesce::All)),
            Value::Text(text) => match text.as_str() {
                "latest" => Some(quote!(#root::Coalesce::Latest)),
                "earliest" => Some(quote!(#root::Coalesce::Earliest)),
                "all" => Some(quote!(#root::Coalesce::All)),
                _ => None,
            },
            _ => None,
        }
    })
}

fn overlap(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    attributes.word("overlap", &["skip", "queue", "cancel_previous"], faults).map(|choice| match choice {
        0 => quote!(#root::Overlap::Skip),
        1 => quote!(#root::Overlap::Queue),
        _ => quote!(#root::Overlap::CancelPrevious),
    })
}

fn retain(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    attributes.word("retain", &["remove", "finished"], faults).map(|choice| match choice {
        0 => quote!(#root::Retain::Remove),
        _ => quote!(#root::Retain::Finished),
    })
}

fn timeout(attributes: &mut Attributes, faults: &mut Faults) -> Option<TokenStream> {
    let expected = "a positive duration: seconds, or text such as \"30s\"";
    attributes.read("timeout", expected, faults, positive).map(duration_tokens)
}

fn timeout_slot(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    attributes.word("timeout_slot", &["hold", "free"], faults).map(|choice| match choice {
        0 => quote!(#root::TimeoutSlot::Hold),
        _ => quote!(#root::TimeoutSlot::Free),
    })
}

fn priority(attributes: &mut Attributes, faults: &mut Faults) -> Option<TokenStream> {
    let expected = "an integer of 32 bits, such as `priority = 5`";
    let priority = attributes.read("priority", expected, faults, |value| match value {
        Value::Integer(number) => i32::try_from(*number).ok(),
        _ => None,
    });
    priority.map(|priority| quote!(#priority))
}

fn metadata(attributes: &mut Attributes, root: &Path, faults: &mut Faults) -> Option<TokenStream> {
    let expected = "a table, such as `metadata = { \"team\" = \"ops\" }`";
    let entries = attributes.read("metadata", expected, faults, |value| match value {
        Value::Object(entries) => Some(entries.clone()),
        _ => None,
    })?;
    let keys = entries.iter().map(|entry| &entry.key);
    let values = entries.iter().map(|entry| json(root, &entry.value));
    Some(quote! {
        ::std::sync::Arc::new(::core::iter::FromIterator::from_iter([
            #((::std::string::String::from(#keys), #values)),*
        ]))
    })
}

/// An expression of type `serde_json::Value`.
pub(crate) fn json(root: &Path, literal: &Json) -> TokenStream {
    quote!(#root::__private::serde_json::json!(#literal))
}

fn positive(value: &Value) -> Option<Duration> {
    duration(value).filter(|duration| !duration.is_zero())
}

fn duration_tokens(duration: Duration) -> TokenStream {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(::core::time::Duration::new(#seconds, #nanos))
}
