//! A first look at crontab text: the number of its fields, its characters, the names of macros. What the fields
//! mean is the trigger's matter.

use crate::faults::hint;

const MACROS: &[&str] =
    &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@reboot"];

/// What is wrong with the text, if anything.
pub(crate) fn fault(text: &str) -> Option<String> {
    let trimmed = text.trim();
    if trimmed.starts_with('@') {
        let known = MACROS.iter().any(|name| name.eq_ignore_ascii_case(trimmed));
        return (!known).then(|| format!("unknown macro `{trimmed}` ({})", hint(trimmed, MACROS)));
    }
    let odd = |character: char| !(character.is_ascii_alphanumeric() || " \t*/,-#?".contains(character));
    if let Some((column, character)) = text.chars().enumerate().find(|(_, character)| odd(*character)) {
        return Some(format!("unexpected {character:?} in column {}", column + 1));
    }
    match trimmed.split_whitespace().count() {
        5 => None,
        6 => Some(
            "expected five fields, found 6; for seconds use keyword fields: `cron(second = …)`".to_owned(),
        ),
        count => Some(format!("expected five fields (minute hour day month weekday), found {count}")),
    }
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn crontab_text_is_checked_for_its_form() {
        for fine in ["* * * * *", " 0 9 * * mon-fri ", "*/5\t1,2 L * 5#2", "@daily", "@Hourly", "0 0 1 1 ?"] {
            assert_eq!(fault(fine), None, "{fine}");
        }
        let table = [
            ("", "found 0"),
            ("* * * *", "found 4"),
            ("0 0 9 * * *", "cron(second"),
            ("0 9 * * mon;fri", "unexpected ';' in column 12"),
            ("@dayly", "did you mean `@daily`?"),
            ("@ö", "known: @yearly"),
        ];
        for (text, expected) in table {
            assert!(fault(text).is_some_and(|fault| fault.contains(expected)), "{text}");
        }
    }
}
