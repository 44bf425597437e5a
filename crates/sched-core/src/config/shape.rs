//! One shape for every dictionary: prefixes off, dotted keys nested, `${VARIABLE}` filled in.
//!
//! The result does not depend on the order of keys. Two values for one key are a fault, never a silent choice.

use serde_json::{Map, Value};

use crate::Fault;

const PREFIXES: [&str; 2] = ["apscheduler", "sched"];

/// How deep tables may nest, dots counted.
const MAX_DEPTH: usize = 32;

/// The nested tree of a dictionary. What is wrong is added to `faults`.
pub(crate) fn expand(config: Value, faults: &mut Vec<Fault>) -> Map<String, Value> {
    let mut tree = Map::new();
    match config {
        Value::Object(map) => {
            for (key, value) in map {
                insert(&mut tree, &key, value, "", faults);
            }
        }
        Value::Null => {}
        _ => faults.push(fault("", "a configuration is a table")),
    }
    for prefix in PREFIXES {
        if let Some(Value::Object(inner)) = tree.remove(prefix) {
            for (key, value) in inner {
                merge(&mut tree, key, value, "", faults);
            }
        }
    }
    fill(&mut tree, "", faults);
    tree
}

fn insert(tree: &mut Map<String, Value>, key: &str, value: Value, path: &str, faults: &mut Vec<Fault>) {
    if path.split('.').count() > MAX_DEPTH {
        faults.push(fault(path, "tables are nested too deep"));
        return;
    }
    let (head, rest) = match key.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    let here = join(path, head);
    if head.is_empty() {
        faults.push(fault(&join(path, key), "a key has an empty part"));
        return;
    }
    let value = match (rest, value) {
        (Some(rest), value) => {
            let mut inner = Map::new();
            insert(&mut inner, rest, value, &here, faults);
            Value::Object(inner)
        }
        (None, Value::Object(map)) if !is_free_form(head) => {
            let mut inner = Map::new();
            for (key, value) in map {
                insert(&mut inner, &key, value, &here, faults);
            }
            Value::Object(inner)
        }
        (None, value) => value,
    };
    merge(tree, head.to_owned(), value, path, faults);
}

/// Tables whose keys are the user's own and may have dots.
fn is_free_form(key: &str) -> bool {
    matches!(key, "kwargs" | "metadata" | "env")
}

fn merge(tree: &mut Map<String, Value>, key: String, value: Value, path: &str, faults: &mut Vec<Fault>) {
    let here = join(path, &key);
    match (tree.get_mut(&key), value) {
        (None, value) => {
            tree.insert(key, value);
        }
        (Some(Value::Object(old)), Value::Object(new)) => {
            for (key, value) in new {
                merge(old, key, value, &here, faults);
            }
        }
        (Some(old), new) if *old == new => {}
        (Some(_), _) => faults.push(fault(&here, "given twice, with different values")),
    }
}

fn fill(tree: &mut Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    for (key, value) in tree.iter_mut() {
        fill_value(value, &join(path, key), faults);
    }
}

fn fill_value(value: &mut Value, path: &str, faults: &mut Vec<Fault>) {
    match value {
        Value::String(text) if text.contains("${") => match substitute(text) {
            Ok(filled) => *text = filled,
            Err(message) => faults.push(fault(path, &message)),
        },
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                fill_value(item, &format!("{path}[{index}]"), faults);
            }
        }
        Value::Object(map) => fill(map, path, faults),
        _ => {}
    }
}

/// Puts the values of environment variables in place of `${NAME}`; `$${` is a plain `${`. **Errors**: why it cannot be
/// filled in, as text.
pub fn substitute(text: &str) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        if before.ends_with('$') {
            filled.push('{');
            rest = after;
            continue;
        }
        let (name, tail) = after.split_once('}').ok_or("`${` without `}`")?;
        filled.push_str(
            &std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?,
        );
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn fault(path: &str, message: &str) -> Fault {
    Fault { path: path.to_owned(), message: message.to_owned(), suggestion: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn expanded(config: Value) -> (Value, Vec<String>) {
        let mut faults = Vec::new();
        let tree = expand(config, &mut faults);
        (Value::Object(tree), faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn flat_nested_and_prefixed_forms_are_one() {
        let nested =
            json!({ "jobstores": { "a": { "type": "memory" } }, "job_defaults": { "coalesce": false } });
        let forms = [
            json!({ "jobstores.a.type": "memory", "job_defaults.coalesce": false }),
            json!({ "apscheduler.jobstores.a": { "type": "memory" }, "apscheduler.job_defaults.coalesce": false }),
            json!({ "sched": { "jobstores.a.type": "memory" }, "sched.job_defaults": { "coalesce": false } }),
            nested.clone(),
        ];
        for form in forms {
            assert_eq!(expanded(form.clone()), (nested.clone(), vec![]), "{form}");
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one = expanded(json!({ "a.b.x": 1, "a": { "b": { "y": 2 } } }));
        assert_eq!(one, (json!({ "a": { "b": { "x": 1, "y": 2 } } }), vec![]));
        let clash = expanded(json!({ "a.b": 1, "a": { "b": 2 } }));
        assert_eq!(clash.1, ["a.b: given twice, with different values"]);
    }

    #[test]
    fn a_missing_variable_is_a_fault() {
        let (_, faults) = expanded(json!({ "url": "x${SCHED_NO_SUCH_VARIABLE}" }));
        assert_eq!(faults, ["url: the environment variable `SCHED_NO_SUCH_VARIABLE` is not set"]);
        assert_eq!(expanded(json!({ "a": "$${x}" })).0, json!({ "a": "${x}" }));
    }

    #[test]
    fn a_plain_dollar_brace_can_be_written() {
        assert_eq!(substitute("a$${b} $$c"), Ok("a${b} $$c".to_owned()));
        assert!(substitute("${").is_err());
    }

    #[test]
    fn nesting_has_a_limit() {
        let (_, faults) = expanded(json!({ vec!["a"; 100].join("."): 1 }));
        assert_eq!(faults.len(), 1);
    }
}
