//! The events on the sender's disk.

use std::sync::Arc;

use simulator::locked;

use super::{Mutant, World};
use crate::{
    client::{EventSource, SourceError},
    proto::LogMessage,
};

/// The events on the sender's disk.
pub(super) struct Source(pub(super) Arc<World>);

impl Source {
    async fn operation(&self) -> Result<(), SourceError> {
        self.0.travel().await;
        let probability = locked(&self.0.conditions).source_fails;
        if self.0.chance.happens(probability) {
            Err(SourceError::new("the disk fails"))
        } else {
            Ok(())
        }
    }
}

impl EventSource for Source {
    type Position = u64;

    async fn read(
        &self,
        after: Option<&u64>,
        limit: usize,
    ) -> Result<Vec<(u64, LogMessage)>, SourceError> {
        self.operation().await?;
        let (skips, once) = (self.0.has(Mutant::SkipEvents), self.0.has(Mutant::ReadOnce));
        let mut state = locked(&self.0.state);
        let from = after.map_or(0, |after| *after);
        let read: Vec<(u64, LogMessage)> = state
            .events
            .range(from + 1..)
            .filter(|(position, _)| !state.acknowledged.contains(position))
            .filter(|(position, _)| !(skips && after.is_some() && **position % 7 == 0))
            .filter(|(position, _)| !(once && state.returned.contains(position)))
            .take(limit)
            .map(|(position, (event, ..))| (*position, event.clone()))
            .collect();
        state.returned.extend(read.iter().map(|(position, _)| *position));
        Ok(read)
    }

    async fn acknowledge(&self, positions: &[u64]) -> Result<(), SourceError> {
        self.operation().await?;
        let mut state = locked(&self.0.state);
        if self.0.has(Mutant::AcknowledgeAll) {
            let all: Vec<u64> = state.events.keys().copied().collect();
            state.acknowledged.extend(all);
        }
        for position in positions {
            let is_kept = state.topic.contains(position) || state.dead_letters.contains(position);
            if !is_kept {
                state.broken.push(format!("event {position} is acknowledged, and nowhere"));
            }
            state.acknowledged.insert(*position);
            if self.0.keeps_last {
                let up_to: Vec<u64> =
                    state.events.range(..*position).map(|(key, _)| *key).collect();
                state.acknowledged.extend(up_to);
            }
            let first = state.events.keys().find(|key| !state.acknowledged.contains(key)).copied();
            if first.is_some_and(|first| first < *position) {
                state.broken.push(format!("event {position} is acknowledged before {first:?}"));
            }
        }
        Ok(())
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }

    async fn dead_letter(
        &self,
        position: &u64,
        _event: &LogMessage,
        _reason: &str,
    ) -> Result<(), SourceError> {
        self.operation().await?;
        if !self.0.has(Mutant::LoseDeadLetters) {
            locked(&self.0.state).dead_letters.push(*position);
        }
        self.0.history.note(format!("event {position} is a dead letter"));
        Ok(())
    }
}
