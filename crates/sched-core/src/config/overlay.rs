//! Laying one dictionary over another, such as variables over a file: what lies above replaces what lies below.
//!
//! The lower one may spell a key flat, nested, or with a prefix; all spellings of the key are taken out.

use serde_json::{Map, Value};

const PREFIXES: [&str; 3] = ["", "sched.", "apscheduler."];

/// Lays `upper`, a flat table of dotted keys as [`from_variables`](super::from_variables) makes it, over `config`.
/// What is no table is left to whoever reads the configuration to refuse.
///
/// # Example
/// ```
/// use sched_core::config::{from_variables, lay_over};
/// let mut config = serde_json::json!({ "job_defaults": { "max_instances": 1 } });
/// lay_over(&mut config, from_variables([("SCHED__JOB_DEFAULTS__MAX_INSTANCES".into(), "3".into())]));
/// assert_eq!(config["job_defaults.max_instances"], "3");
/// ```
pub fn lay_over(config: &mut Value, upper: Value) {
    let (Value::Object(config), Value::Object(upper)) = (config, upper) else { return };
    for (key, value) in upper {
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
