//! A thread that looks at a process again and again and sends what it saw.
//!
//! Apart from the screen, so that keys are answered while a large heap is walked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use heapwise_inspect::process::figures;
use heapwise_inspect::survey::page_bytes;
use heapwise_inspect::verdict::{Verdict, judge};
use heapwise_inspect::{Error, Options, Survey, survey};

use crate::profile::living::{Living, Patience};
use crate::snapshot;
use crate::units::bytes;
use crate::view::pace::{Cost, Pace};

/// What one look saw.
#[derive(Debug)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// What was seen.
    pub seen: Survey,
    /// What it means.
    pub verdict: Verdict,
    /// What it took.
    pub cost: Cost,
}

/// What the sampler tells.
#[derive(Debug)]
pub enum News {
    /// A look.
    Look(Box<Look>),
    /// The RSS alone, between two looks that are far apart.
    Rss(Instant, usize),
    /// A look failed, the next may not.
    Failed(String),
    /// A snapshot was written, or why not: words for the user.
    Saved(String),
    /// The process has ended; nothing follows.
    Ended,
}

/// What the sampler is told.
#[derive(Debug, Clone)]
pub enum Order {
    /// Look so often.
    Interval(Duration),
    /// Look now.
    Now,
    /// Do not look until told to, or do again.
    Pause(bool),
    /// Take a whole look and keep it in a file.
    Save(PathBuf),
}

/// The thread, from outside.
pub struct Sampler {
    orders: Sender<Order>,
    /// What it tells.
    pub news: Receiver<News>,
}

impl Sampler {
    /// Starts it; its first look is an interval away, which a dear look before has stretched.
    pub fn start(pid: u32, options: Options, mut pace: Pace) -> Self {
        let (orders, inbox) = channel();
        // One look waits at most: a screen that is stuck must not pile them up.
        let (teller, news) = sync_channel(1);
        // It ends by itself when nobody listens any more.
        thread::spawn(move || {
            let born = figures::start_time(pid).ok();
            let mut living = Living::default();
            let mut paused = false;
            let mut looked = Instant::now();
            loop {
                let due = wait(&mut pace, &mut paused, &inbox, looked);
                if matches!(due, Due::Look) {
                    looked = Instant::now();
                }
                let told = match due {
                    Due::Nothing => return,
                    Due::Save(path) => teller.send(News::Saved(save(pid, &path, &mut living))),
                    Due::Rss => match figures::rss(pid, page_bytes()) {
                        Ok(rss) => teller.send(News::Rss(Instant::now(), rss)),
                        // The next look says why.
                        Err(_) => Ok(()),
                    },
                    Due::Look => match tell(pid, born, options, &mut living) {
                        News::Look(look) => {
                            pace.learn(look.cost);
                            teller.send(News::Look(look))
                        }
                        News::Ended => {
                            let _ = teller.send(News::Ended);
                            return;
                        }
                        other => teller.send(other),
                    },
                };
                if told.is_err() {
                    return;
                }
            }
        });
        Self { orders, news }
    }

    /// Tells it something; one that has ended does not mind.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// What is to be done next.
enum Due {
    Look,
    Rss,
    Save(PathBuf),
    /// Nobody is there any more.
    Nothing,
}

/// Waits until something is due; the last look began at `looked`.
fn wait(pace: &mut Pace, paused: &mut bool, orders: &Receiver<Order>, looked: Instant) -> Due {
    let began = Instant::now();
    loop {
        let until_look = pace.interval().saturating_sub(looked.elapsed());
        let until_rss = pace.asked().saturating_sub(began.elapsed());
        let is_rss_first = pace.is_slow() && until_rss < until_look;
        let left = if is_rss_first { until_rss } else { until_look };
        let order = if *paused {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            orders.recv_timeout(left)
        };
        match order {
            Ok(Order::Interval(interval)) => pace.ask(interval),
            Ok(Order::Pause(pause)) => *paused = pause,
            Err(RecvTimeoutError::Timeout) if is_rss_first => return Due::Rss,
            Ok(Order::Now) | Err(RecvTimeoutError::Timeout) => return Due::Look,
            Ok(Order::Save(path)) => return Due::Save(path),
            Err(RecvTimeoutError::Disconnected) => return Due::Nothing,
        }
    }
}

fn save(pid: u32, path: &Path, living: &mut Living) -> String {
    let kept = survey(pid, Options::ALL).map_err(anyhow::Error::from).and_then(|mut seen| {
        living.fill(&mut seen, Patience::None);
        snapshot::keep(&seen, path)
    });
    match kept {
        Ok(length) => format!("{} in {}", bytes(length as u64), path.display()),
        Err(error) => format!("{}: {error:#}", path.display()),
    }
}

fn tell(pid: u32, born: Option<u64>, options: Options, living: &mut Living) -> News {
    // The number may be another process's by now, or only the name on a grave.
    if is_gone(pid) || born.is_some() && figures::start_time(pid).ok() != born {
        return News::Ended;
    }
    match look(pid, options, living) {
        Ok(_) if is_gone(pid) => News::Ended,
        Ok(look) => News::Look(Box::new(look)),
        // One that becomes another program (exec) has no memory for a moment.
        Err(_) if is_gone(pid) => News::Ended,
        Err(error) => News::Failed(error.to_string()),
    }
}

/// One look, here and now.
pub fn look(pid: u32, options: Options, living: &mut Living) -> Result<Look, Error> {
    let at = Instant::now();
    let (seen, cost) = Cost::of(|| survey(pid, options));
    let mut seen = seen?;
    // Its own cost is bounded there.
    living.fill(&mut seen, Patience::None);
    let verdict = judge(&seen);
    Ok(Look { at, seen, verdict, cost })
}

/// Ended, even if its parent has not heard of it yet.
fn is_gone(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rfind(')').and_then(|at| stat[at + 1..].split_whitespace().next());
    matches!(state, Some("Z" | "X" | "x"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pace(cpu: Duration) -> Pace {
        let mut pace = Pace::new(Duration::from_millis(50));
        pace.learn(Cost { wall: cpu, cpu });
        pace
    }

    #[test]
    fn after_a_dear_look_it_waits_and_orders_wake_it() {
        let own = std::process::id();
        let sampler = Sampler::start(own, Options::default(), pace(Duration::from_secs(60)));
        // Meanwhile the RSS alone is told.
        for _ in 0..3 {
            let news = sampler.news.recv_timeout(Duration::from_secs(60));
            assert!(matches!(news, Ok(News::Rss(_, rss)) if rss > 0), "{news:?}");
        }
        sampler.order(Order::Now);
        let mut all = sampler.news.iter().take(1000);
        assert!(all.any(|news| matches!(news, News::Look(_))));
    }

    #[test]
    fn one_that_is_gone_has_ended() {
        let sampler = Sampler::start(u32::MAX, Options::default(), pace(Duration::from_nanos(1)));
        assert!(matches!(sampler.news.recv_timeout(Duration::from_secs(60)), Ok(News::Ended)));
    }
}
