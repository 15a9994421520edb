//! Pages of processes that were never there: complete, safe, the same each time.

use std::time::Duration;

use heapwise_inspect::verdict::judge;
use serde_json::Value;

use super::document::Document;
use super::page::render;
use super::source::Story;
use crate::target::{Kind, Look};
use crate::view::events::{self, Event};
use crate::view::sample;
use crate::view::timeline::{Point, Timeline};

const NASTY: &str = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

fn story(looks: u64, name: &str) -> Story {
    let mut seen = sample::survey(20, 10);
    seen.figures.name = name.into();
    seen.maps[2].name = format!("/lib/{name}");
    seen.threads.all[1].name = name.into();
    seen.origin.command = vec![name.into(), "a b".into()];
    seen.origin.host.name = name.into();
    seen.notes.push(name.into());
    let mut timeline = Timeline::new(100);
    for second in 0..looks {
        let at = Duration::from_secs(second);
        timeline.push(Point::of(&sample::survey(10 + second as usize, 10), at));
    }
    let kind = events::Kind::Exec;
    let events = vec![Event { at: Duration::from_secs(1), kind, text: name.into() }];
    let verdict = judge(&seen);
    let look = Look { seen, typed: "4711".into(), kind: Kind::Process };
    Story { look, verdict, timeline, events, pace: None }
}

fn page(looks: u64, name: &str) -> String {
    let story = story(looks, name);
    render(&Document::new(&story, true), None)
}

/// What stands between `begin` and `end`, each time.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Vec<&'a str> {
    text.split(begin).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

fn data(page: &str, id: &str) -> Value {
    let begin = format!("<script type=\"application/json\" id=\"data-{id}\">");
    let found = between(page, &begin, "</script>");
    assert_eq!(found.len(), 1, "{id}");
    serde_json::from_str(found[0]).expect("JSON")
}

#[test]
fn every_section_is_there_and_in_the_contents() {
    let page = page(11, "shop");
    let sections = between(&page, "<section id=\"", "\"");
    let contents = between(between(&page, "<nav", "</nav>")[0], "href=\"#", "\"");
    assert_eq!(sections, contents);
    assert_eq!(
        sections,
        [
            "summary", "account", "timeline", "heaps", "arenas", "bins", "sizes", "holders",
            "mappings", "measured"
        ]
        .into_iter()
        .filter(|id| *id != "sizes")
        .collect::<Vec<_>>(),
        "the sample has no size classes"
    );
    let mut ids = between(&page, " id=\"", "\"");
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id twice");
    for link in between(&page, "href=\"#", "\"") {
        assert!(ids.contains(&link), "{link}");
    }
    for label in
        between(&page, "aria-labelledby=\"", "\"").iter().chain(&between(&page, "for=\"", "\""))
    {
        assert!(ids.contains(label), "{label}");
    }
}

#[test]
fn a_name_cannot_break_out() {
    let page = page(3, NASTY);
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    assert!(!page.contains("<script>alert") && !page.contains("<img"));
    // Three blocks of data, and the script.
    assert_eq!(page.matches("<script").count(), 4);
    assert_eq!(page.matches("</script>").count(), 4);
    assert_eq!(data(&page, "figures")["name"], NASTY);
    // Quotes end no attribute: each tag has only attributes that we know.
    assert!(!page.contains("onerror=alert(2)>\"") && !page.contains("'><img"));
}

#[test]
fn the_same_story_gives_the_same_bytes() {
    assert_eq!(page(5, "shop"), page(5, "shop"));
}

#[test]
fn nothing_is_fetched() {
    let page = page(5, "shop");
    for outside in ["http://", "https://", " src=", "url(", "@import", "<link", "<iframe", "fetch("]
    {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn tags_are_balanced() {
    const VOID: [&str; 4] = ["meta", "input", "br", "link"];
    let page = page(5, NASTY);
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.as_str();
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, behind) = after.split_once('>').expect("tags end");
        rest = behind;
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "near {}", &behind[..behind.len().min(80)]);
        } else if name != "!DOCTYPE" && !VOID.contains(&name) {
            open.push(name);
            if name == "script" || name == "style" {
                // Their text is no markup.
                let end = format!("</{name}>");
                rest = &rest[rest.find(&end).expect("it ends")..];
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn figures_are_those_of_the_account() {
    let page = page(5, "shop");
    let figures = data(&page, "figures");
    assert_eq!(figures["schema"], "heapwise.explain/1");
    let rows = figures["rows"].as_array().unwrap();
    let sum: u64 = rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), figures["rss_bytes"].as_u64());
    assert!(page.contains("42.0 MiB"), "the RSS of the sample");
    // The bar's shares are all of it.
    let bar = between(&page, "<div class=\"bar\"", "</div>")[0];
    let shares: f64 =
        between(bar, "flex-grow:", ";").iter().map(|share| share.parse::<f64>().unwrap()).sum();
    assert!((shares - 100.0).abs() < 0.1, "{shares}");
}

#[test]
fn the_map_has_every_page() {
    let map = data(&page(1, "shop"), "map");
    let heaps = map["heaps"].as_array().unwrap();
    assert_eq!(heaps.len(), 2);
    let cells = heaps[0]["cells"].as_str().unwrap();
    // 20 MiB live, then 10 MiB free, in pages of 4 KiB, base 36.
    assert_eq!(cells, "L3y8F1z4");
    assert_eq!(i64::from_str_radix("3y8", 36).unwrap() * 4096, 20 << 20);
    assert_eq!(heaps[0]["start"], "0x555500000000");
    for letter in cells.chars().filter(char::is_ascii_uppercase) {
        assert!(map["names"][letter.to_string()].is_string());
    }
}

#[test]
fn a_single_look_has_no_timeline() {
    let one = page(1, "shop");
    assert!(!one.contains("id=\"timeline\"") && !one.contains("data-timeline\""));
    let timeline = data(&page(6, "shop"), "timeline");
    assert_eq!(timeline["at_ms"].as_array().unwrap().len(), 6);
    let parts = timeline["bytes"].as_array().unwrap();
    assert_eq!(parts.len(), timeline["parts"].as_array().unwrap().len());
    for look in 0..6 {
        let sum: u64 = parts.iter().map(|part| part[look].as_u64().unwrap()).sum();
        assert_eq!(Some(sum), timeline["rss"][look].as_u64());
    }
}

#[test]
fn bytes_of_the_program_are_shown_only_if_wanted() {
    let mut story = story(1, "shop");
    story.look.seen.holders[0].first = b"secret!!".to_vec();
    assert!(render(&Document::new(&story, true), None).contains("|secret!!|"));
    let page = render(&Document::new(&story, false), None);
    assert!(!page.contains("secret") && !page.contains("7365637265742121"));
}
