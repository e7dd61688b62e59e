//! `/problems`, the target of every problem's `type`, generated from the table of problems.

use std::fmt::Write as _;

use crate::problem::Code;

/// Returns the page, in which each code is an anchor.
pub(super) fn html() -> String {
    let mut rows = String::new();
    for code in Code::ALL {
        let (word, status, title, why) =
            (code.as_str(), code.status().as_u16(), code.title(), marked_up(code.explanation()));
        write!(
            rows,
            "<section id=\"{word}\">\n<h2><a href=\"#{word}\"><code>{word}</code></a> <span \
             class=\"status\">{status}</span></h2>\n<p><strong>{title}.</strong> {why}</p>\n\
             </section>\n"
        )
        .expect("writing to a string does not fail");
    }
    include_str!("problems.html").replace("{{problems}}", &rows)
}

/// Converts an explanation to HTML, with `<code>` for backticks.
fn marked_up(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    escaped
        .split('`')
        .enumerate()
        .map(
            |(index, part)| {
                if index % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() }
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_type_has_an_anchor() {
        let page = html();
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"{}\"", code.as_str())), "{code:?}");
        }
        assert!(!page.contains("{{") && !page.contains('`'));
    }
}
