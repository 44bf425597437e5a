//! SQLite on a disk that is full, or read-only. The disks are small file systems in memory, which only root may mount.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use sched_core::{ErrorKind, JobStore};
use sched_store_sql::SqlStore;
use sched_testkit::server;
use tempfile::TempDir;

use crate::stage::{Stage, context};

/// A small disk.
struct Disk(TempDir);

impl Disk {
    /// One of two megabytes; `None`, reported as skipped, where none can be mounted.
    fn mounted() -> Option<Self> {
        let directory = TempDir::new().expect("a temporary directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "sched-test"]).arg(directory.path());
        let is_mounted = mount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !is_mounted {
            server::skipped("no small disk: only root may mount one");
        }
        is_mounted.then_some(Self(directory))
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{how}")]).arg(self.0.path());
        assert!(mount.status().is_ok_and(|status| status.success()), "remount,{how}");
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("jobs.sqlite")
    }

    fn url(&self) -> String {
        format!("sqlite:///{}", self.path().display())
    }

    fn store(&self) -> SqlStore {
        let builder = SqlStore::builder(self.url());
        builder.busy_timeout(Duration::from_secs(2)).build().expect("the configuration is right")
    }

    /// Writes until there is no space.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("there is space");
        let mut size = 1 << 16;
        while size > 0 {
            if ballast.write_all(&vec![1; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }

    fn ballast(&self) -> PathBuf {
        self.0.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A file that a failed test left open does not keep the directory busy.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_holds_up_its_own_jobs_until_there_is_space_and_loses_nothing() {
    let Some(disk) = Disk::mounted() else { return };
    let stage = Stage::with(disk.store());
    for _ in 0..2 {
        disk.fill();
        stage.degrades("disk is full");
        let refused = stage.add_far("late").expect_err("there is no space");
        assert!(refused.is_retryable() && refused.to_string().contains("disk is full"), "{refused}");
        disk.free();
        stage.recovers();
    }
    stage.ends_whole();
}

#[test]
fn a_full_disk_has_no_place_for_the_tables() {
    let Some(disk) = Disk::mounted() else { return };
    disk.fill();
    let error = disk.store().start(context()).expect_err("the start fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let text = error.to_string();
    assert!(text.contains("jobs.sqlite") && text.contains("disk"), "{error}");
    disk.free();
    Stage::with(disk.store()).ends_whole();
}

#[test]
fn a_start_on_a_read_only_disk_says_so_and_leaves_the_others_alone() {
    let Some(disk) = Disk::mounted() else { return };
    Stage::with(disk.store()).ends_whole();
    disk.remount("ro");
    let stage = Stage::new();
    for url in [disk.url(), format!("file:{}?mode=ro", disk.path().display())] {
        let store = SqlStore::open(url).expect("the url is right");
        let error = stage.add(store).expect_err("it cannot write");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(text.contains("jobs.sqlite") && text.contains("Read-only file system"), "{error}");
        stage.goes_on();
    }
    disk.remount("rw");
    stage.add(disk.store()).expect("the alias is free, and the disk can be written");
}
