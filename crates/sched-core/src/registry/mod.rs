//! The registry: which plug-ins and tasks this program has, and what their names mean.
//!
//! Plug-ins join at link time through [`inventory::submit!`] of a [`Plugin`], or by hand through
//! [`RegistryBuilder`]. The same factory serves the configuration dictionary, `add_job` with an alias, and the
//! decoding of a stored trigger.

mod known;
mod plugin;

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

pub use self::plugin::{Factory, Plugin, PluginKind};
use crate::config::{BuildContext, Section};
use crate::executor::Executor;
use crate::id::{MAX_NAME_CHARS, is_name};
use crate::job::{DeclaredJob, JobBuilder, JobSettings};
use crate::store::JobStore;
use crate::task::{Task, TaskEntry};
use crate::{Error, ErrorKind, EventBroker, Fault, Trigger};

/// The plug-ins and tasks a scheduler can name.
#[derive(Clone, Default)]
pub struct Registry {
    plugins: BTreeMap<(PluginKind, &'static str), Plugin>,
    tasks: BTreeMap<Arc<str>, Arc<Task>>,
    declared: Vec<DeclaredJob>,
    offer: Option<Offer>,
    job_keys: &'static [&'static str],
}

/// The crate whose cargo features link plug-ins in, and those features.
#[derive(Debug, Clone, Copy)]
struct Offer {
    package: &'static str,
    features: &'static [&'static str],
}

impl Registry {
    /// A registry without anything; mostly for tests.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Everything that was linked into this program.
    ///
    /// **Errors**: [`AlreadyExists`](ErrorKind::AlreadyExists) when two plug-ins share an alias or two tasks a name.
    pub fn linked() -> Result<Self, Error> {
        Self::builder().linked().build()
    }

    /// Starts an explicit registry.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// The task of that name. **Errors**: [`NotFound`](ErrorKind::NotFound) with near names.
    pub fn task(&self, name: &str) -> Result<Arc<Task>, Error> {
        self.tasks.get(name).cloned().ok_or_else(|| {
            let hint = match nearest(name, self.tasks.keys().map(AsRef::as_ref)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.tasks.is_empty() => "no task is registered".to_owned(),
                None => format!(
                    "registered: {}",
                    self.tasks.keys().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
                ),
            };
            Error::new(ErrorKind::NotFound, format!("no task named `{name}` ({hint})"))
        })
    }

    /// All tasks, by name.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// The jobs that were declared with `#[scheduled]`.
    pub fn declared_jobs(&self) -> Vec<JobBuilder> {
        self.declared.iter().map(|declared| (declared.job)()).collect()
    }

    /// Gives a task other settings, for jobs that are added from now on.
    pub(crate) fn configure_task(&mut self, name: &str, settings: &JobSettings) -> Result<(), Error> {
        let task = Arc::unwrap_or_clone(self.task(name)?);
        let settings = settings.over(task.settings());
        self.tasks.insert(task.shared_name(), Arc::new(task.with_settings(settings)));
        Ok(())
    }

    /// All plug-ins, each once, ordered by kind and first alias.
    pub fn plugins(&self) -> impl Iterator<Item = &Plugin> {
        self.plugins
            .iter()
            .filter(|((_, alias), plugin)| plugin.aliases.first() == Some(alias))
            .map(|(_, it)| it)
    }

    /// Keys of a job in a schedule file that the program takes out itself.
    pub(crate) fn job_keys(&self) -> &'static [&'static str] {
        self.job_keys
    }

    /// Builds a trigger from its configuration form, a table with `type`. `path` is used in errors.
    pub fn trigger(
        &self,
        path: &str,
        config: Value,
        context: BuildContext<'_>,
    ) -> Result<Arc<dyn Trigger>, Error> {
        self.build(
            PluginKind::Trigger,
            Section::new(path, config, context)?,
            |factory, section| match factory {
                Factory::Trigger(build) => Some(build(section)),
                _ => None,
            },
        )
    }

    /// Builds a job store from its table with `type` or `class`.
    pub fn job_store(
        &self,
        path: &str,
        config: Value,
        context: BuildContext<'_>,
    ) -> Result<Arc<dyn JobStore>, Error> {
        self.build(PluginKind::JobStore, Section::new(path, config, context)?, |factory, section| {
            match factory {
                Factory::JobStore(build) => Some(build(section)),
                _ => None,
            }
        })
    }

    /// Builds an executor from its table with `type` or `class`.
    pub fn executor(
        &self,
        path: &str,
        config: Value,
        context: BuildContext<'_>,
    ) -> Result<Arc<dyn Executor>, Error> {
        self.build(PluginKind::Executor, Section::new(path, config, context)?, |factory, section| {
            match factory {
                Factory::Executor(build) => Some(build(section)),
                _ => None,
            }
        })
    }

    /// Builds an event broker from its table with `type`.
    pub fn event_broker(
        &self,
        path: &str,
        config: Value,
        context: BuildContext<'_>,
    ) -> Result<Arc<dyn EventBroker>, Error> {
        self.build(PluginKind::EventBroker, Section::new(path, config, context)?, |factory, section| {
            match factory {
                Factory::EventBroker(build) => Some(build(section)),
                _ => None,
            }
        })
    }

    /// What is linked in, as a table for people.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for plugin in self.plugins() {
            let aliases = plugin.aliases.join(", ");
            let _ =
                writeln!(text, "{:<12} {aliases:<32} {} [{}]", plugin.kind(), plugin.summary, plugin.package);
        }
        for task in self.tasks() {
            let _ = writeln!(text, "{:<12} {}", "task", task.signature_text());
        }
        text
    }

    fn build<T>(
        &self,
        kind: PluginKind,
        mut section: Section<'_>,
        call: impl FnOnce(Factory, &mut Section<'_>) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        let path = &section.path().to_owned();
        let alias = kind_alias(kind, &mut section)?;
        let plugin = self.plugin(kind, &alias).map_err(|mut fault| {
            fault.path = section.path_of("type");
            Error::from_faults(ErrorKind::InvalidConfig, vec![fault])
        })?;
        let built = call(plugin.factory, &mut section);
        let mut faults = match section.finish() {
            Ok(()) => Vec::new(),
            Err(error) => error.into_faults(path),
        };
        match built {
            Some(Ok(part)) if faults.is_empty() => return Ok(part),
            Some(Err(error)) if faults.is_empty() && error.faults().is_empty() => {
                return Err(if path.is_empty() { error } else { error.in_context(path) });
            }
            Some(Err(error)) => {
                let more = error.into_faults(path).into_iter().filter(|fault| !faults.contains(fault));
                let more: Vec<Fault> = more.collect();
                faults.extend(more);
            }
            Some(Ok(_)) | None => {}
        }
        Err(Error::from_faults(ErrorKind::InvalidConfig, faults))
    }

    fn plugin(&self, kind: PluginKind, alias: &str) -> Result<&Plugin, Fault> {
        let found =
            self.plugins.iter().find(|((k, a), _)| *k == kind && *a == alias).map(|(_, plugin)| plugin);
        found.ok_or_else(|| {
            let aliases: Vec<&str> =
                self.plugins.keys().filter(|(k, _)| *k == kind).map(|(_, a)| *a).collect();
            let near = nearest(alias, aliases.iter().copied());
            let suggestion = match (known::feature_of(kind, alias), near) {
                (Some(feature), _) => self.advice_on(feature, &aliases),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("known: {}", aliases.join(", ")),
            };
            let message = format!("no {kind} by the name \"{alias}\" was found");
            Fault { path: String::new(), message, suggestion: Some(suggestion) }
        })
    }

    /// What to do about a plug-in that exists and is not linked in.
    fn advice_on(&self, feature: &str, aliases: &[&str]) -> String {
        let package = self.offer.map_or("sched", |offer| offer.package);
        match self.offer {
            Some(Offer { features, .. }) if !features.contains(&feature) => {
                format!("`{package}` comes without it; known: {}", aliases.join(", "))
            }
            _ => format!("enable the cargo feature `{feature}` of the `{package}` crate"),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins: Vec<_> = self.plugins.keys().collect();
        f.debug_struct("Registry").field("plugins", &plugins).field("tasks", &self.tasks.keys()).finish()
    }
}

/// `type` wins over `class`; a class is a Python path of the seeds' dictionaries or an alias.
fn kind_alias(kind: PluginKind, section: &mut Section<'_>) -> Result<String, Error> {
    let class = section.string("class");
    let alias = section.string("type");
    let resolved = match (alias, class) {
        (Some(alias), _) => Some(alias),
        (None, Some(class)) => match known::alias_of_class(kind, &class) {
            Some(alias) => Some(alias.to_owned()),
            None if class.contains(':') => {
                let message = format!("unknown class `{class}`, give the plug-in's alias as `type`");
                return Err(fault(section.path_of("class"), message));
            }
            None => Some(class),
        },
        (None, None) => {
            let message = format!("either \"type\" or \"class\" must be defined for this {kind}");
            return Err(fault(section.path().to_owned(), message));
        }
    };
    resolved.ok_or_else(|| fault(section.path_of("type"), format!("expected the alias of this {kind}")))
}

fn fault(path: String, message: String) -> Error {
    Error::from_faults(ErrorKind::InvalidConfig, vec![Fault { path, message, suggestion: None }])
}

/// Collects plug-ins and tasks; [`build`](RegistryBuilder::build) checks that no name is taken twice.
#[derive(Debug, Default)]
pub struct RegistryBuilder {
    plugins: Vec<Plugin>,
    tasks: Vec<Arc<Task>>,
    declared: Vec<DeclaredJob>,
    offer: Option<Offer>,
    job_keys: &'static [&'static str],
}

impl RegistryBuilder {
    /// Adds everything that was linked into this program.
    #[must_use]
    pub fn linked(mut self) -> Self {
        self.plugins.extend(inventory::iter::<Plugin>().copied());
        self.tasks.extend(inventory::iter::<TaskEntry>().map(|entry| Arc::new((entry.task)())));
        self.declared.extend(inventory::iter::<DeclaredJob>().copied());
        self
    }

    /// Adds a plug-in.
    #[must_use]
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Adds a task.
    #[must_use]
    pub fn task(mut self, task: impl Into<Arc<Task>>) -> Self {
        self.tasks.push(task.into());
        self
    }

    /// Names the crate whose cargo features link plug-ins in, and those features: what an error tells the user to
    /// enable. The crate `sched` with all of its features when not given.
    #[must_use]
    pub fn features_of(mut self, package: &'static str, features: &'static [&'static str]) -> Self {
        self.offer = Some(Offer { package, features });
        self
    }

    /// Names keys of a job in a schedule file that this program takes out itself before the file is read: advice on a
    /// key that is not known names them, too.
    #[must_use]
    pub fn job_keys(mut self, keys: &'static [&'static str]) -> Self {
        self.job_keys = keys;
        self
    }

    /// **Errors**: [`AlreadyExists`](ErrorKind::AlreadyExists) naming the alias or task and both packages.
    pub fn build(self) -> Result<Registry, Error> {
        let mut registry = Registry {
            declared: self.declared,
            offer: self.offer,
            job_keys: self.job_keys,
            ..Registry::default()
        };
        for plugin in self.plugins {
            for alias in plugin.aliases {
                if let Some(other) = registry.plugins.insert((plugin.kind(), alias), plugin) {
                    let (kind, ours, theirs) = (plugin.kind(), plugin.package, other.package);
                    let message =
                        format!("{kind} alias \"{alias}\" is provided by both `{theirs}` and `{ours}`");
                    return Err(Error::new(ErrorKind::AlreadyExists, message));
                }
            }
        }
        for task in self.tasks {
            let name = task.shared_name();
            if !is_name(&name) {
                let message = format!(
                    "the name of a task must have 1 to {MAX_NAME_CHARS} characters, none of them a control \
                     character: {name:?}"
                );
                return Err(Error::new(ErrorKind::InvalidJob, message));
            }
            if registry.tasks.insert(Arc::clone(&name), task).is_some() {
                return Err(Error::new(ErrorKind::AlreadyExists, format!("two tasks are named `{name}`")));
            }
        }
        Ok(registry)
    }
}

/// The candidate nearest in spelling, when it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 >= 0.85).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(registry: &Registry, kind: PluginKind, alias: &str) -> String {
        registry.plugin(kind, alias).unwrap_err().suggestion.unwrap_or_default()
    }

    #[test]
    fn what_is_not_linked_in_is_told_with_the_crate_and_the_feature_that_links_it() {
        let library = Registry::empty();
        let store = |registry, alias| advice(registry, PluginKind::JobStore, alias);
        assert_eq!(store(&library, "redis"), "enable the cargo feature `redis` of the `sched` crate");
        assert_eq!(
            advice(&library, PluginKind::Trigger, "rrule"),
            "enable the cargo feature `rrule` of the `sched` crate"
        );
        let program = Registry::builder().features_of("program", &["redis"]).build().unwrap();
        assert_eq!(store(&program, "redis"), "enable the cargo feature `redis` of the `program` crate");
        assert_eq!(store(&program, "mongodb"), "`program` comes without it; known: ");
    }
}
