//! Without `crate`, everything is found under `::sched`.

extern crate sched_core as sched;

mod tasks {
    #[sched_macros::scheduled(every = "5m", args = [3], coalesce = true, metadata = { rows = 3 })]
    pub fn prune(rows: u32) -> Result<u32, std::num::TryFromIntError> {
        u16::try_from(rows).map(u32::from)
    }
}

fn main() {
    let registry = sched::Registry::linked().unwrap();
    assert!(registry.task(tasks::prune::NAME).is_ok());
    assert_eq!(registry.declared_jobs().len(), 1);
}
