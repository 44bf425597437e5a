//! Cargo's description of the workspace, reduced to what the checks read. Runs `cargo metadata`; decides nothing.

use crate::run::{Failure, Workspace, capture};
use serde_json::Value;
use std::path::PathBuf;

/// What `cargo metadata` says.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Every package described: the members, and their dependencies when these were asked for.
    pub(crate) packages: Vec<Package>,
    /// Where cargo puts what it builds.
    pub(crate) target_directory: PathBuf,
}

/// One package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) manifest: PathBuf,
    /// The licence expression of the manifest.
    pub(crate) licence: Option<String>,
    /// Where it comes from; none for a package of this checkout.
    pub(crate) source: Option<String>,
    /// Whether the manifest allows it to be published.
    pub(crate) published: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The version requirement; `*` when none is given.
    pub(crate) requirement: String,
    /// Whether it is found by path.
    pub(crate) by_path: bool,
}

/// Which dependency table a dependency stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Metadata {
    /// Describes the workspace's members only. Needs no lock file and no network.
    pub(crate) fn of_members(workspace: &Workspace) -> Result<Self, Failure> {
        Self::read(workspace, &["metadata", "--format-version", "1", "--no-deps"])
    }

    /// Describes the members and everything they depend on, on all platforms.
    pub(crate) fn of_everything(workspace: &Workspace) -> Result<Self, Failure> {
        Self::read(workspace, &["metadata", "--format-version", "1", "--all-features"])
    }

    /// The package of this name in this checkout.
    pub(crate) fn member(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.source.is_none() && package.name == name)
    }

    fn read(workspace: &Workspace, arguments: &[&str]) -> Result<Self, Failure> {
        Self::parse(&capture(&mut workspace.cargo(arguments))?)
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let root: Value = serde_json::from_str(text)
            .map_err(|error| Failure::new(format!("cannot read the output of cargo metadata: {error}")))?;
        Ok(Self {
            packages: array(&root, "packages")?.iter().map(Package::parse).collect::<Result<_, _>>()?,
            target_directory: PathBuf::from(text_of(&root, "target_directory")?),
        })
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Self, Failure> {
        Ok(Self {
            id: text_of(value, "id")?,
            name: text_of(value, "name")?,
            version: text_of(value, "version")?,
            manifest: text_of(value, "manifest_path")?.into(),
            licence: optional_text(value, "license"),
            source: optional_text(value, "source"),
            published: value["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
            dependencies: array(value, "dependencies")?
                .iter()
                .map(Dependency::parse)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Dependency {
    fn parse(value: &Value) -> Result<Self, Failure> {
        let kind = match value["kind"].as_str() {
            Some("dev") => Kind::Dev,
            Some("build") => Kind::Build,
            _ => Kind::Normal,
        };
        Ok(Self {
            name: text_of(value, "name")?,
            kind,
            requirement: text_of(value, "req")?,
            by_path: value["path"].is_string(),
        })
    }
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, Failure> {
    value[key].as_array().ok_or_else(|| missing(key))
}

fn text_of(value: &Value, key: &str) -> Result<String, Failure> {
    optional_text(value, key).ok_or_else(|| missing(key))
}

fn optional_text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn missing(key: &str) -> Failure {
    Failure::new(format!("the output of cargo metadata has no `{key}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"{"target_directory": "/t", "packages": [
        {"id": "path+a#0.1.0", "name": "a", "version": "0.1.0", "manifest_path": "/a/Cargo.toml", "license": null, "source": null, "publish": [],
         "dependencies": [
            {"name": "b", "kind": null, "req": "^1"},
            {"name": "c", "kind": "dev", "req": "*", "path": "/c"},
            {"name": "d", "kind": "build", "req": "^2"}]},
        {"id": "registry+x#b@1.0.0", "name": "b", "version": "1.0.0", "manifest_path": "/b/Cargo.toml", "license": "MIT", "source": "registry+x",
         "publish": null, "dependencies": []}]}"#;

    #[test]
    fn kinds_sources_and_publishing_are_told_apart() {
        let metadata = Metadata::parse(SAMPLE).unwrap();
        let a = metadata.member("a").unwrap();
        assert_eq!(
            a.dependencies.iter().map(|d| d.kind).collect::<Vec<_>>(),
            [Kind::Normal, Kind::Dev, Kind::Build]
        );
        assert!(!a.published);
        assert!(a.dependencies[1].by_path && !a.dependencies[0].by_path);
        assert!(metadata.member("b").is_none(), "a package of a registry is no member");
        assert!(metadata.packages[1].published);
    }

    #[test]
    fn output_without_a_needed_key_is_a_failure() {
        let message = Metadata::parse(r#"{"packages": []}"#).unwrap_err().to_string();
        assert!(message.contains("target_directory"), "{message}");
    }
}
