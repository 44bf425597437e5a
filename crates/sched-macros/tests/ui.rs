//! What a user sees who uses an attribute wrongly, and that good uses are free of warnings.
//!
//! After a change of wording: `TRYBUILD=overwrite cargo test -p sched-macros --test ui -- --include-ignored`, then
//! read the difference.

#[test]
fn good_uses_compile_without_warnings() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[test]
fn wrong_uses_are_refused_with_readable_errors() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

#[test]
#[ignore = "the compiler words these errors, each version a little differently"]
fn errors_of_the_compiler_point_at_the_users_code() {
    trybuild::TestCases::new().compile_fail("tests/ui/compiler/*.rs");
}
