//! Lays the variables `SCHED__…` over the dictionary of a file: a variable replaces what the file says.
//!
//! A file may spell a key flat, nested, or with a prefix; all spellings of the variable's key are taken out, and the
//! library puts the rest together.

use serde_json::{Map, Value};

const PREFIXES: [&str; 3] = ["", "sched.", "apscheduler."];

/// Puts `variables`, a flat table of dotted keys, into `config`. What is no table is left to the library to refuse.
pub(super) fn lay_over(config: &mut Value, variables: Value) {
    let (Value::Object(config), Value::Object(variables)) = (config, variables) else { return };
    for (key, value) in variables {
        PREFIXES.iter().for_each(|prefix| take_out(config, &format!("{prefix}{key}")));
        config.insert(key, value);
    }
}

fn take_out(table: &mut Map<String, Value>, path: &str) {
    table.remove(path);
    for (key, value) in table.iter_mut() {
        let rest = path.strip_prefix(key.as_str()).and_then(|rest| rest.strip_prefix('.'));
        if let (Some(rest), Value::Object(inner)) = (rest, value) {
            take_out(inner, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_variable_replaces_every_spelling_of_its_key() {
        let spellings = [
            json!({ "executors": { "default": { "type": "threadpool", "max_workers": 1 } } }),
            json!({ "executors.default": { "type": "threadpool", "max_workers": 1 } }),
            json!({ "sched": { "executors": { "default": { "type": "threadpool", "max_workers": 1 } } } }),
            json!({ "executors.default.type": "threadpool", "apscheduler.executors.default.max_workers": 1 }),
        ];
        for mut config in spellings {
            lay_over(&mut config, json!({ "executors.default.max_workers": "20" }));
            let text = config.to_string();
            assert!(text.contains("threadpool") && !text.contains(":1"), "{text}");
            assert_eq!(config["executors.default.max_workers"], "20");
        }
    }

    #[test]
    fn other_keys_stay() {
        let mut config = json!({ "timezone": "UTC", "job_defaults": { "coalesce": true } });
        lay_over(&mut config, json!({ "timezone": "Asia/Tokyo" }));
        assert_eq!(config, json!({ "timezone": "Asia/Tokyo", "job_defaults": { "coalesce": true } }));
    }
}
