//! The page around the sections: head, styles, contents, data, script.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::document::Document;
use super::recorded::Recorded;
use super::sections::{self, Section};
use crate::explain::words;
use crate::units::moment;
use crate::view::palette::PARTS;

const CSS: &str = include_str!("assets/page.css");
const JS: &str = include_str!("assets/page.js");
/// Nothing from anywhere else, whatever a name of the process may try.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'";

/// A page about a process, and what was recorded of it, if that was given.
pub fn render(document: &Document<'_>, recorded: Option<&Recorded>) -> String {
    let mut sections = sections::all(document);
    sections.extend(recorded.into_iter().flat_map(Recorded::sections));
    let seen = document.seen;
    let title = format!("{} ({}): memory", seen.figures.name, seen.pid);
    shell(&title, &head(document), &sections)
}

/// A page about a recording alone.
pub fn render_recorded(recorded: &Recorded) -> String {
    let head = html! {
        header.page { div.wrap {
            div.who {
                p.brand { "Heapwise memory report" }
                h1 { (recorded.name()) " " span.soft { "as it was recorded" } }
                p.soft.small { code { (recorded.command) } }
            }
            (theme_switch())
        } }
    };
    let title = format!("{}: memory over time", recorded.name());
    shell(&title, &head, &recorded.sections())
}

/// The whole file.
fn shell(title: &str, head: &Markup, sections: &[Section]) -> String {
    let first = sections.first().map_or("", |section| section.id);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content={ "heapwise " (env!("CARGO_PKG_VERSION")) };
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(CSS)) (PreEscaped(theme())) }
            }
            body {
                a.skip href={ "#" (first) } { "To the content" }
                (head)
                nav.toc aria-label="Contents" {
                    div.wrap { ul {
                        @for section in sections {
                            li { a href={ "#" (section.id) } { (section.title) } }
                        }
                    } }
                }
                main.wrap {
                    @for section in sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.body)
                        }
                    }
                }
                footer { div.wrap {
                    "Written by heapwise " (env!("CARGO_PKG_VERSION"))
                    ". This page is complete: it loads nothing."
                } }
                @for (id, value) in sections.iter().filter_map(|section| section.data.as_ref()) {
                    script type="application/json" id={ "data-" (id) } { (embedded(value)) }
                }
                script { (PreEscaped(JS)) }
            }
        }
    };
    page.into_string()
}

fn head(document: &Document<'_>) -> Markup {
    let seen = document.seen;
    let origin = &seen.origin;
    html! {
        header.page { div.wrap {
            div.who {
                p.brand { "Heapwise memory report" }
                h1 { (seen.figures.name) " " span.soft { "process " (seen.pid) } }
                p.soft {
                    @if !origin.host.name.is_empty() { (origin.host.name) " · " }
                    (words::allocator_briefly(seen)) " · " (moment(origin.taken_unix_ms))
                }
                @if !origin.command.is_empty() {
                    p.soft.small { code { (sections::measured::command(seen)) } }
                }
            }
            (theme_switch())
        } }
    }
}

fn theme_switch() -> Markup {
    html! {
        button.js-only #theme type="button" aria-label="Switch between light and dark" { "Dark" }
    }
}

/// JSON that cannot end the element that it stands in, nor begin another.
fn embedded(value: &Value) -> PreEscaped<String> {
    let text = value.to_string();
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // These occur in strings only, where an escape means the same.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", c as u32));
            }
            _ => safe.push(c),
        }
    }
    PreEscaped(safe)
}

/// The colours: light, dark as the system says, dark as the switch says.
fn theme() -> String {
    let parts = |dark: bool| -> String {
        PARTS
            .iter()
            .map(|part| {
                let (light, on_dark) = part.css();
                format!("--{}: {}; ", part.name(), if dark { on_dark } else { light })
            })
            .collect()
    };
    let dark = format!(
        "--ground: #14171b; --raised: #1d2126; --ink: #e7eaee; --soft: #9aa5b1; --line: #2e343b; \
         --accent: #6ea2ff; --untouched: #262b31; --on-part: #10151a; color-scheme: dark; {}",
        parts(true)
    );
    format!(
        ":root {{ {} }}\n\
         @media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=\"light\"]) {{ {dark} }} }}\n\
         @media screen {{ :root[data-theme=\"dark\"] {{ {dark} }} }}\n",
        parts(false)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn embedded_json_cannot_break_out_and_means_the_same() {
        let nasty = json!({ "name": "</script><script>alert(1)</script><!-- & \u{2028}" });
        let text = embedded(&nasty).into_string();
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), nasty);
    }

    #[test]
    fn the_assets_can_stand_in_their_elements() {
        assert!(!JS.contains("</script") && !JS.contains("<!--"));
        assert!(!CSS.contains("</style"));
        for asset in [JS, CSS] {
            assert!(
                !asset.contains("http:") && !asset.contains("https:") && !asset.contains("@import")
            );
        }
    }
}
