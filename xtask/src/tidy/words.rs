//! Rules about words that must not be written: marks of unfinished work, and text that belongs to somebody's machine or
//! tracker and means nothing to a reader of the project.
//!
//! The words are put together from parts, so that this file does not hold them.

use super::{File, Finding};

/// Marks of unfinished work in source files.
const UNFINISHED: &[&str] = &[
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("dbg", "!"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("TO", "DO"),
];

/// Paths and hosts of one machine or its package mirrors.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tmp/bash", "_jobs"),
    concat!("static.", "crates"),
    concat!("index.", "crates.io"),
    concat!("py", "pi.org"),
    concat!("python", "hosted"),
    concat!("registry.", "npmjs"),
    concat!("deb.", "debian.org"),
];

/// Phrases about how a text came to be, compared without regard to case.
const PHRASES: &[&str] = &[concat!("this ", "session")];

/// A word that a number after it turns into a reference to a tracker.
const REFERENCE: &str = concat!("iss", "ue");

/// No marks of unfinished work.
pub(super) fn unfinished(file: &File) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let marks = |line: &str| UNFINISHED.iter().copied().find(|mark| has_word(line, mark));
    file.lines()
        .filter_map(|(number, line)| Some((number, marks(line)?)))
        .map(|(number, mark)| file.finding(number, format!("`{mark}`: finish it, or leave it out")))
        .collect()
}

/// No words about other people's machines and trackers.
pub(super) fn foreign(file: &File) -> Vec<Finding> {
    // Written by cargo, with whatever registry it was given.
    if file.path.ends_with("Cargo.lock") {
        return Vec::new();
    }
    file.lines()
        .filter_map(|(number, line)| Some((number, foreign_word(line)?)))
        .map(|(number, word)| {
            file.finding(number, format!("`{word}` means nothing to a reader of the project"))
        })
        .collect()
}

fn foreign_word(line: &str) -> Option<String> {
    let lower = line.to_ascii_lowercase();
    let place = PLACES.iter().copied().find(|place| has_place(line, place));
    let phrase = || PHRASES.iter().copied().find(|phrase| lower.contains(phrase));
    place.or_else(phrase).map(str::to_owned).or_else(|| reference(&lower))
}

/// The first reference to a tracker's number in a line of lower case, if any.
fn reference(lower: &str) -> Option<String> {
    lower.match_indices(REFERENCE).find_map(|(at, _)| {
        let rest = lower[at + REFERENCE.len()..].strip_prefix(' ')?;
        let digits: String = rest.trim_start_matches('#').chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then(|| format!("{REFERENCE} {digits}"))
    })
}

/// Whether a line has the word on its own, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && (word.ends_with('!') || !after.is_some_and(is_part))
    })
}

/// Whether a line has the place; a path counts only from its root.
fn has_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !place.starts_with('/') || !before.is_some_and(|c| c.is_alphanumeric() || "._-}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn every_mark_of_unfinished_work_is_found() {
        for mark in UNFINISHED {
            assert_eq!(unfinished(&file("a.rs", &format!("ok\n    // {mark}(later)\n"))).len(), 1, "{mark}");
            assert_eq!(unfinished(&file("a.rs", &format!("my{mark}\n"))).len(), 0, "{mark}");
            assert_eq!(unfinished(&file("a.md", &format!("{mark}\n"))).len(), 0, "{mark}");
        }
    }

    #[test]
    fn a_longer_word_is_no_mark() {
        assert_eq!(unfinished(&file("a.rs", &format!("let {}_LIST = 1;\n", concat!("TO", "DO")))), []);
        assert_eq!(unfinished(&file("a.rs", &format!("mk{}X\n", concat!("XX", "X")))), []);
    }

    #[test]
    fn every_foreign_place_and_phrase_is_found() {
        for word in PLACES.iter().chain(PHRASES) {
            assert_eq!(foreign(&file("a.md", &format!("see {word} there\n"))).len(), 1, "{word}");
            assert_eq!(foreign(&file("Cargo.lock", &format!("see {word} there\n"))).len(), 0, "{word}");
        }
        assert_eq!(foreign(&file("a.md", &PHRASES[0].to_ascii_uppercase())).len(), 1);
    }

    #[test]
    fn a_relative_path_is_no_foreign_place() {
        for path in ["net", ".", "..", "a_", "{dir}"] {
            assert_eq!(foreign(&file("a.md", &format!("{path}{}x\n", PLACES[0]))), [], "{path}");
        }
    }

    #[test]
    fn numbers_of_a_tracker_are_found_and_the_bare_word_is_not() {
        for text in [" 12", " #12", " ##3"] {
            let line = format!("See I{}{text}.\n", &REFERENCE[1..]);
            assert_eq!(foreign(&file("a.rs", &line)).len(), 1, "{line}");
        }
        for text in ["", "s are open", " tracker", "d 12 tickets"] {
            assert_eq!(foreign(&file("a.rs", &format!("An {REFERENCE}{text}.\n"))), [], "{text}");
        }
    }
}
