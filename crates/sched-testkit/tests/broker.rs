//! The suite of brokers on the one of the core.

use std::sync::Arc;

use sched_core::LocalBroker;

sched_testkit::broker_suite!(|| Arc::new(LocalBroker::new()));
