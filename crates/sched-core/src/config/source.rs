//! From text and variables to a dictionary.

use serde_json::{Map, Value};

use crate::{Error, ErrorKind};

/// The largest configuration text that is read, in bytes.
pub const MAX_CONFIG_BYTES: usize = 16 * 1024 * 1024;

/// The formats a configuration text can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
}

impl Format {
    /// The format that a file name's ending stands for.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "json" => Self::Json,
            "toml" => Self::Toml,
            "yaml" | "yml" => Self::Yaml,
            _ => return None,
        })
    }
}

/// Reads a dictionary from text.
///
/// **Errors**: [`InvalidConfig`](ErrorKind::InvalidConfig) with line and column where the parser tells them;
/// [`Unsupported`](ErrorKind::Unsupported) when the format's cargo feature is off.
pub fn parse(text: &str, format: Format) -> Result<Value, Error> {
    if text.len() > MAX_CONFIG_BYTES {
        let message = format!("the configuration is larger than {MAX_CONFIG_BYTES} bytes");
        return Err(Error::new(ErrorKind::InvalidConfig, message));
    }
    match format {
        Format::Json => serde_json::from_str(text).map_err(|error| invalid("JSON", &error)),
        Format::Toml => parse_toml(text),
        Format::Yaml => parse_yaml(text),
    }
}

#[cfg(feature = "toml")]
fn parse_toml(text: &str) -> Result<Value, Error> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| invalid("TOML", &error))?;
    Ok(from_toml(toml::Value::Table(table)))
}

#[cfg(not(feature = "toml"))]
fn parse_toml(_: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::Unsupported, "TOML needs the cargo feature `toml`"))
}

/// Dates become their text: which zone they are in is for the reader of the key.
#[cfg(feature = "toml")]
fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::from(flag),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(from_toml).collect()),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, from_toml(value))).collect())
        }
    }
}

#[cfg(feature = "yaml")]
fn parse_yaml(text: &str) -> Result<Value, Error> {
    serde_yaml_ng::from_str(text).map_err(|error| invalid("YAML", &error))
}

#[cfg(not(feature = "yaml"))]
fn parse_yaml(_: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::Unsupported, "YAML needs the cargo feature `yaml`"))
}

fn invalid(format: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidConfig, format!("not valid {format}: {}", error.to_string().trim_end()))
}

/// The dictionary of the variables whose name starts with `SCHED__`: `SCHED__JOB_DEFAULTS__COALESCE=false` is
/// `job_defaults.coalesce = "false"`.
pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Value {
    let named = variables.into_iter().filter_map(|(name, value)| {
        let key = name.strip_prefix("SCHED__")?.to_ascii_lowercase().replace("__", ".");
        Some((key, Value::String(value)))
    });
    Value::Object(named.collect::<Map<_, _>>())
}

/// The dictionary of flat pairs, as an ini file gives them.
pub fn from_pairs<K: Into<String>, V: Into<Value>>(pairs: impl IntoIterator<Item = (K, V)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_become_dotted_keys() {
        let variables = [("SCHED__EXECUTORS__DEFAULT__MAX_WORKERS", "20"), ("PATH", "/bin")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(from_variables(variables), json!({ "executors.default.max_workers": "20" }));
    }

    #[cfg(all(feature = "toml", feature = "yaml"))]
    #[test]
    fn all_formats_give_the_same_dictionary() {
        let expected = json!({ "timezone": "UTC", "jobs": [{ "id": "a", "at": "2030-01-01T00:00:00Z" }] });
        let texts = [
            (Format::Json, r#"{"timezone":"UTC","jobs":[{"id":"a","at":"2030-01-01T00:00:00Z"}]}"#),
            (Format::Toml, "timezone = 'UTC'\n[[jobs]]\nid = 'a'\nat = 2030-01-01T00:00:00Z"),
            (Format::Yaml, "timezone: UTC\njobs:\n  - id: a\n    at: '2030-01-01T00:00:00Z'"),
        ];
        for (format, text) in texts {
            assert_eq!(parse(text, format).unwrap(), expected, "{format:?}");
        }
        assert_eq!(parse("{", Format::Json).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
