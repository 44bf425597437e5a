//! Drives the real program: its arguments, its files, its output, its signals and its exit status.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod check;
#[cfg(test)]
#[cfg(unix)]
mod commands;
#[cfg(test)]
mod next;
#[cfg(test)]
mod program;
#[cfg(test)]
mod run;
