//! What the sections read.

use heapwise_inspect::Survey;
use heapwise_inspect::verdict::Verdict;

use super::source::Story;
use crate::explain::Shown;
use crate::target::Look;
use crate::view::events::Event;
use crate::view::pace::Pace;
use crate::view::timeline::Timeline;

/// Everything that a page can tell.
pub struct Document<'a> {
    /// The look, and how to ask for another one.
    pub look: &'a Look,
    /// What was seen.
    pub seen: &'a Survey,
    /// What it means.
    pub verdict: &'a Verdict,
    /// All looks in short, this one too.
    pub timeline: &'a Timeline,
    /// What happened between them.
    pub events: &'a [Event],
    /// How they were spread, where there were several of a process.
    pub pace: Option<&'a Pace>,
    /// First bytes of chunks may be shown.
    pub bytes: bool,
}

impl<'a> Document<'a> {
    /// What the figures for programs hold.
    pub fn shown(&self) -> Shown {
        Shown { holders: true, bytes: self.bytes, classes: true }
    }

    /// That of a story.
    pub fn new(story: &'a Story, bytes: bool) -> Self {
        Self {
            look: &story.look,
            seen: &story.look.seen,
            verdict: &story.verdict,
            timeline: &story.timeline,
            events: &story.events,
            pace: story.pace.as_ref(),
            bytes,
        }
    }
}
