//! Everything that is wrong with one use of an attribute, told at once.

use std::fmt;

use proc_macro2::{Span, TokenStream};

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Faults(Option<syn::Error>);

impl Faults {
    /// Records a fault at `span`.
    pub(crate) fn at(&mut self, span: Span, message: impl fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    /// Records a fault.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The compile errors; `None` when there is no fault.
    pub(crate) fn compile_errors(&self) -> Option<TokenStream> {
        self.0.as_ref().map(syn::Error::to_compile_error)
    }
}

/// The known word nearest in spelling, as a hint; else all of them.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    let scored = known.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    match scored.max_by(|left, right| left.0.total_cmp(&right.0)) {
        Some((score, near)) if score >= 0.8 => format!("did you mean `{near}`?"),
        _ => format!("known: {}", known.join(", ")),
    }
}
