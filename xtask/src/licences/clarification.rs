//! What the policy says about crates whose manifest names no licence: an expression, true as long as a file is what it was.
//!
//! The file is known by the hash that cargo-deny takes of it, so that one policy serves both.

use crate::{metadata::Package, run::Failure};
use std::fs;
use toml::{Table, Value};

/// One table `[[licenses.clarify]]` of the policy.
#[derive(Debug, PartialEq)]
pub(super) struct Clarification {
    package: String,
    pub(super) expression: String,
    files: Vec<LicenceFile>,
}

/// A file that was read when the expression was written.
#[derive(Debug, PartialEq)]
struct LicenceFile {
    /// Where it lies in the package.
    path: String,
    hash: u32,
}

impl Clarification {
    /// Reads a table of the policy; none when it lacks what it must have.
    pub(super) fn parse(table: &Table) -> Option<Self> {
        let text = |key: &str| table.get(key)?.as_str().map(str::to_owned);
        let files = table.get("license-files")?.as_array()?.iter().map(LicenceFile::parse);
        Some(Self {
            package: text("crate")?,
            expression: text("expression")?,
            files: files.collect::<Option<Vec<_>>>().filter(|files| !files.is_empty())?,
        })
    }

    /// Whether it speaks of a package. All versions of one name are meant: the files tell them apart.
    pub(super) fn concerns(&self, package: &Package) -> bool {
        self.package == package.name
    }

    /// Checks that the package's files are those that were read.
    pub(super) fn verify(&self, package: &Package) -> Result<(), Failure> {
        let directory = package.manifest.parent().unwrap_or(&package.manifest);
        for LicenceFile { path, hash } in &self.files {
            let text = fs::read_to_string(directory.join(path))
                .map_err(|error| Failure::new(format!("cannot read {path}: {error}")))?;
            let found = hash_of(&text);
            if found != *hash {
                return Err(Failure::new(format!(
                    "{path} has the hash {found:#010x}, not {hash:#010x}: read it and clarify anew"
                )));
            }
        }
        Ok(())
    }
}

impl LicenceFile {
    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            path: value.get("path")?.as_str()?.to_owned(),
            hash: value.get("hash")?.as_integer()?.try_into().ok()?,
        })
    }
}

/// The hash of a text whose lines all end with one line feed.
fn hash_of(text: &str) -> u32 {
    let lines = text.lines().map(|line| format!("{}\n", line.trim_end_matches('\r')));
    xxh32(lines.collect::<String>().as_bytes())
}

/// XXH32 with the seed zero.
///
/// **Source**: <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F, 0x1656_67B1];
    let [p1, p2, p3, p4, p5] = PRIMES;
    let round =
        |lane: u32, word: u32| lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(13).wrapping_mul(p1);
    let (stripes, rest) = bytes.as_chunks::<16>();
    let mut hash = if stripes.is_empty() {
        p5
    } else {
        let mut lanes = [p1.wrapping_add(p2), p2, 0, p1.wrapping_neg()];
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<4>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = round(*lane, u32::from_le_bytes(*word));
            }
        }
        let turned = lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
        turned.fold(0, u32::wrapping_add)
    };
    // The length counts modulo 2^32.
    hash = hash.wrapping_add((bytes.len() & 0xFFFF_FFFF).try_into().unwrap_or_default());
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(p3)).rotate_left(17).wrapping_mul(p4);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(p5)).rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 13)).wrapping_mul(p3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_other_programs() {
        for (text, hash) in
            [("", 0x02CC_5D05), ("xy", 0x548C_8872), ("abcd", 0xA364_3705), ("abcdefghijklmnop", 0x9D2D_8B62)]
        {
            assert_eq!(xxh32(text.as_bytes()), hash, "{text}");
        }
    }

    #[test]
    fn the_hash_does_not_depend_on_how_lines_end() {
        assert_eq!(hash_of("a\r\n\r\nb"), hash_of("a\n\nb\n"));
        assert_ne!(hash_of("a\nb\n"), hash_of("a\n\nb\n"));
    }

    #[test]
    fn a_table_without_what_it_must_have_is_none() {
        let whole = "crate = \"a\"\nexpression = \"MIT\"\nlicense-files = [{ path = \"LICENSE\", hash = 0xa3643705 }]\n";
        let parse = |text: &str| Clarification::parse(&text.parse().unwrap());
        let files = vec![LicenceFile { path: "LICENSE".to_owned(), hash: 0xA364_3705 }];
        let expected = Clarification { package: "a".to_owned(), expression: "MIT".to_owned(), files };
        assert_eq!(parse(whole), Some(expected));
        for (present, absent) in
            [("crate", "krate"), ("expression", "x"), ("{ path", "{ pat"), ("0xa3643705", "-1")]
        {
            assert_eq!(parse(&whole.replace(present, absent)), None, "{absent}");
        }
        let no_files = whole.replace("{ path = \"LICENSE\", hash = 0xa3643705 }", "");
        assert_eq!(parse(&no_files), None);
    }
}
