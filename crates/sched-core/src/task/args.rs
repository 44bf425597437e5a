//! Arguments: positional and named JSON values, checked against a task's parameters.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind};

/// The arguments of a call. Cheap to clone.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Parts", into = "Parts")]
pub struct Args(Option<Arc<Parts>>);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    args: Vec<Value>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    kwargs: Map<String, Value>,
}

impl Args {
    /// Positional and named arguments.
    pub fn new(positional: Vec<Value>, named: Map<String, Value>) -> Self {
        Parts { args: positional, kwargs: named }.into()
    }

    /// From a JSON value: an array is positional, an object named, `null` none; anything else is one positional
    /// argument.
    pub fn from_value(value: Value) -> Self {
        match value {
            Value::Null => Self::default(),
            Value::Array(items) => Self::new(items, Map::new()),
            Value::Object(map) => Self::new(Vec::new(), map),
            single => Self::new(vec![single], Map::new()),
        }
    }

    /// The positional arguments.
    pub fn positional(&self) -> &[Value] {
        self.0.as_deref().map_or(&[], |parts| &parts.args)
    }

    /// The named arguments.
    pub fn named(&self) -> Option<&Map<String, Value>> {
        self.0.as_deref().map(|parts| &parts.kwargs).filter(|named| !named.is_empty())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The argument of the parameter at `index` named `name`, wherever it was given.
    pub fn get(&self, index: usize, name: &str) -> Option<&Value> {
        let parts = self.0.as_deref()?;
        parts.args.get(index).or_else(|| parts.kwargs.get(name))
    }
}

impl From<Parts> for Args {
    fn from(parts: Parts) -> Self {
        match parts.args.is_empty() && parts.kwargs.is_empty() {
            true => Self(None),
            false => Self(Some(Arc::new(parts))),
        }
    }
}

impl From<Args> for Parts {
    fn from(args: Args) -> Self {
        args.0.map_or_else(Parts::default, Arc::unwrap_or_clone)
    }
}

impl From<Value> for Args {
    fn from(value: Value) -> Self {
        Self::from_value(value)
    }
}

impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named().map_or(0, Map::len);
        write!(f, "Args({} positional, {named} named)", self.positional().len())
    }
}

/// One parameter of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Whether it may be left out (an `Option`).
    pub optional: bool,
}

/// The parameters of a task, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(&'static [Param]);

impl Signature {
    /// The signature with these parameters.
    pub fn new(params: &'static [Param]) -> Self {
        Self(params)
    }

    /// **Errors**: [`InvalidJob`](ErrorKind::InvalidJob) naming every argument that is too many, unknown, given
    /// twice or missing. **Source**: APScheduler 3 `check_callable_args`.
    pub fn check(&self, args: &Args) -> Result<(), Error> {
        let positional = args.positional().len();
        let mut faults = Vec::new();
        if positional > self.0.len() {
            faults.push(format!(
                "the list of positional arguments is longer than the task can handle (allowed: {}, given: {positional})",
                self.0.len()
            ));
        }
        let given = |name: &str| args.named().is_some_and(|named| named.contains_key(name));
        let names = |wanted: &dyn Fn(usize, &Param) -> bool| {
            let picked = self.0.iter().enumerate().filter(|(index, param)| wanted(*index, param));
            picked.map(|(_, param)| param.name).collect::<Vec<_>>().join(", ")
        };
        let twice = names(&|index, param| index < positional && given(param.name));
        let missing = names(&|index, param| index >= positional && !param.optional && !given(param.name));
        let unknown: Vec<&str> = args
            .named()
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| self.0.iter().all(|param| param.name != name.as_str()))
            .map(String::as_str)
            .collect();
        let mut report = |what: &str, names: String| {
            if !names.is_empty() {
                faults.push(format!("{what}: {names}"));
            }
        };
        report("the following arguments are supplied in both args and kwargs", twice);
        report("the following arguments have not been supplied", missing);
        report("the task does not accept the following keyword arguments", unknown.join(", "));
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::InvalidJob, faults.join("; "))),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, param) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let mark = if param.optional { "?" } else { "" };
            write!(f, "{separator}{}{mark}", param.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PARAMS: &[Param] = &[
        Param { name: "to", optional: false },
        Param { name: "rows", optional: false },
        Param { name: "cc", optional: true },
    ];

    fn fault(positional: Value, named: Value) -> Option<String> {
        let named = named.as_object().cloned().unwrap_or_default();
        let args = Args::new(positional.as_array().cloned().unwrap_or_default(), named);
        Signature::new(PARAMS).check(&args).err().map(|error| error.to_string())
    }

    #[test]
    fn arguments_are_checked_against_the_parameters() {
        let table = [
            (json!(["a", 1]), json!({}), None),
            (json!(["a"]), json!({ "rows": 1 }), None),
            (
                json!(["a", 1, "c", 4]),
                json!({}),
                Some("longer than the task can handle (allowed: 3, given: 4)"),
            ),
            (json!(["a"]), json!({}), Some("have not been supplied: rows")),
            (json!(["a", 1]), json!({ "to": "b" }), Some("in both args and kwargs: to")),
            (json!(["a", 1]), json!({ "x": 1 }), Some("does not accept the following keyword arguments: x")),
        ];
        for (positional, named, expected) in table {
            let found = fault(positional, named);
            match expected {
                None => assert_eq!(found, None),
                Some(text) => {
                    assert!(found.as_deref().is_some_and(|found| found.contains(text)), "{found:?}")
                }
            }
        }
    }

    #[test]
    fn arguments_round_trip_through_serde() {
        let args = Args::new(vec![json!(1)], json!({ "a": [2] }).as_object().cloned().unwrap_or_default());
        let text = serde_json::to_string(&args).unwrap();
        assert_eq!(serde_json::from_str::<Args>(&text).unwrap(), args);
    }
}
