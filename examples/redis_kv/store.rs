//! The store: keys, values, and the time that they live.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Reply;

/// Bytes of all entries.
const MOST_MEMORY: usize = 256 * 1024 * 1024;
/// What an entry takes besides its key and value.
const OVERHEAD: usize = 128;

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) entries: HashMap<Bytes, Entry>,
    /// Bytes of all entries.
    size: usize,
}

pub(crate) struct Entry {
    pub(crate) value: Bytes,
    end: Option<Instant>,
}

impl Entry {
    fn size(key: &[u8], value: &[u8]) -> usize {
        key.len() + value.len() + OVERHEAD
    }

    fn is_alive(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() < end)
    }
}

impl Store {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.is_alive())
    }

    /// Bytes of the values of some keys.
    pub(crate) fn size_of(&self, keys: &[&[u8]]) -> usize {
        keys.iter().filter_map(|key| self.get(key)).map(|entry| entry.value.len()).sum()
    }

    pub(crate) fn set(&mut self, key: &[u8], value: Bytes, end: Option<Instant>) -> Reply {
        let size = Entry::size(key, &value);
        if self.size + size > MOST_MEMORY {
            return Reply::Error("OOM command not allowed when used memory > 'maxmemory'.".to_owned());
        }
        self.remove(key);
        self.size += size;
        self.entries.insert(Bytes::copy_from_slice(key), Entry { value, end });
        Reply::Simple("OK")
    }

    /// The entry, if it was alive.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let (key, entry) = self.entries.remove_entry(key)?;
        self.size -= Entry::size(&key, &entry.value);
        entry.is_alive().then_some(entry)
    }

    pub(crate) fn increment(&mut self, key: &[u8]) -> Reply {
        let (value, end) = self.get(key).map_or((Some(0), None), |entry| (parse_number(&entry.value), entry.end));
        let Some(value) = value.and_then(|value| value.checked_add(1)) else { return Reply::not_a_number() };
        match self.set(key, value.to_string().into(), end) {
            Reply::Simple(_) => Reply::Integer(value),
            refused => refused,
        }
    }

    pub(crate) fn expire(&mut self, key: &[u8], time: &[u8]) -> Reply {
        let Some(end) = parse_number(time).map(in_future) else { return Reply::not_a_number() };
        let entry = self.entries.get_mut(key).filter(|entry| entry.is_alive());
        Reply::Integer(entry.map(|entry| entry.end = Some(end)).is_some().into())
    }

    /// Seconds that are left; -1 without a limit, -2 without an entry.
    pub(crate) fn time_to_live(&self, key: &[u8]) -> Reply {
        let left = |end: Instant| end.saturating_duration_since(Instant::now()).as_secs_f64().round() as i64;
        Reply::Integer(self.get(key).map_or(-2, |entry| entry.end.map_or(-1, left)))
    }

    pub(crate) fn sweep(&mut self) {
        self.entries.retain(|_, entry| entry.is_alive());
        self.size = self.entries.iter().map(|(key, entry)| Entry::size(key, &entry.value)).sum();
    }
}

pub(crate) fn in_future(seconds: i64) -> Instant {
    // A thousand years are as good as any longer time.
    Instant::now() + Duration::from_secs(seconds.clamp(0, 1000 * 365 * 86_400) as u64)
}

pub(crate) fn parse_number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
