//! Cron text that the compiler checks.

use proptest::prelude::*;
use sched_triggers::{__cron::fault, CronTrigger, Dialect, cron};

use crate::corpus::lines;

fn agree(text: &str) {
    let read = CronTrigger::parse_dialect(text, Dialect::Unix);
    assert_eq!(fault(text).is_empty(), read.is_ok(), "`{text}`: {} / {read:?}", fault(text));
}

#[test]
fn a_literal_is_the_trigger_of_its_text() {
    let cases = [
        (cron!("*/15 8-18 1,15 jan-mar/2 sat-mon"), "*/15 8-18 1,15 jan-mar/2 sat-mon"),
        (cron!("@daily"), "@daily"),
        (cron!(" 0 0 LAST * 7 "), "0 0 LAST * 7"),
    ];
    for (trigger, text) in cases {
        assert_eq!(trigger, CronTrigger::parse(text).unwrap());
    }
}

#[test]
fn a_wrong_literal_says_what_is_wrong() {
    for (text, expected) in [
        ("0 24 * * *", "cron field `hour`: a number is out of range, expected 0 to 23"),
        ("*/0 * * * *", "cron field `minute`: a step of 0 never advances"),
        ("5-1 * * * *", "cron field `minute`: the range runs backwards"),
        ("0 0 1/31 * *", "cron field `day`: the step is longer than the range"),
        (
            "0 0 * * funday",
            "cron field `day_of_week`: unknown name, expected three letters such as `jan` or `mon`",
        ),
        ("* * * *", "expected 5 cron fields (minute hour day month weekday) or a macro such as `@daily`"),
    ] {
        assert_eq!(fault(text), expected, "{text}");
    }
    assert!(fault("@fortnightly").starts_with("unknown cron macro"));
}

#[test]
fn the_compiler_and_the_reader_agree_on_the_corpus() {
    lines("cron.txt").iter().for_each(|line| agree(line));
}

#[test]
fn the_compiler_and_the_reader_agree_on_every_short_item() {
    let letters =
        ["", "*", "/", "-", ",", "0", "1", "7", "8", "59", "sun", "mon", "Jan", "dec", "last", "L", "?", "é"];
    for first in letters {
        for second in letters {
            for third in letters {
                for fourth in ["", "/", "-", ",", "2", "6", "fri", "feb"] {
                    let item = [first, second, third, fourth].concat();
                    for field in 0..5 {
                        let mut fields = ["*"; 5];
                        fields[field] = &item;
                        agree(&fields.join(" "));
                    }
                }
            }
        }
    }
}

#[test]
fn white_space_is_the_same_for_both() {
    for space in
        (0..=0x3100).filter_map(char::from_u32).filter(|letter| letter.is_whitespace() || !letter.is_ascii())
    {
        agree(&format!("0{space}0 * * *"));
        agree(&format!("{space}@daily{space}"));
    }
    agree("@daily x");
    agree("");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_compiler_and_the_reader_agree(
        text in "([0-9*]{1,3}|[*]/[0-9]{1,2}|[0-6]-[0-7]|(mon|TUE|sun|jan|Dec|last|xyz)(-(fri|sat|mar|[0-9]))?|[0-9]{1,2}-[0-9]{1,2}/[0-9]{1,2}|[0-9*,/a-zé-]{0,5})([ \t]([0-9*]{1,2}|[*]|[*]/[0-9]|[1-7]-[0-7]|[0-9],[0-9]|(sat|jan)-(mon|feb))){3,5}|@[a-z]{0,9}|.{0,12}",
    ) {
        agree(&text);
    }
}
