//! Plain columns: two spaces between them, no frame, nothing at the end of a line.
//!
//! Invariant: a cell never holds a control character, so that what a peer says of itself cannot
//! move the cursor of whoever reads about it.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Table};

/// Lines of a table, its header first.
pub(crate) fn lines<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(harmless(text))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Milliseconds with at most two decimals, or `-`: .NET's `0.##`.
pub(crate) fn rtt(ms: Option<f64>) -> String {
    let Some(ms) = ms.filter(|ms| ms.is_finite() && *ms >= 0.0) else { return "-".into() };
    // `round` takes halves away from zero as .NET does; formatting alone would take them to even.
    let text = format!("{:.2}", (ms * 100.0).round() / 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `yes` or `no`.
pub(crate) fn yes(flag: bool) -> String {
    if flag { "yes".into() } else { "no".into() }
}

/// The text without control characters.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_have_at_most_two_decimals() {
        for (ms, text) in [
            (Some(0.0), "0"),
            (Some(0.004), "0"),
            (Some(0.125), "0.13"),
            (Some(0.5), "0.5"),
            (Some(1.0), "1"),
            (Some(1.239), "1.24"),
            (Some(10.0), "10"),
            (Some(1_234.5), "1234.5"),
            (Some(-1.0), "-"),
            (Some(f64::NAN), "-"),
            (None, "-"),
        ] {
            assert_eq!(rtt(ms), text, "{ms:?}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["longer".to_owned(), String::new()]];
        assert_eq!(lines(["Node", "N"], &rows), ["Node    N", "a       1", "longer"]);
    }

    #[test]
    fn a_peers_words_cannot_move_the_cursor() {
        let rows = [["\u{1b}[2J\nx".to_owned()]];
        assert_eq!(lines(["Node"], &rows), ["Node", "\u{fffd}[2J\u{fffd}x"]);
    }
}
