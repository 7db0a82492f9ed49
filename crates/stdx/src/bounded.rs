//! Collections that cannot grow without a limit.

use std::collections::VecDeque;

/// Said by a bounded collection that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A queue of at most `cap` items; pushing onto a full one drops the oldest and returns it.
#[derive(Clone, Debug)]
pub struct Ring<T> {
    items: VecDeque<T>,
    cap: usize,
}

impl<T> Ring<T> {
    pub fn new(cap: usize) -> Ring<T> {
        Ring { items: VecDeque::new(), cap: cap.max(1) }
    }
    pub fn push(&mut self, item: T) -> Option<T> {
        let out = if self.items.len() >= self.cap { self.items.pop_front() } else { None };
        self.items.push_back(item);
        out
    }
    /// Pushes only if there is room.
    pub fn try_push(&mut self, item: T) -> Result<(), Full> {
        if self.items.len() >= self.cap {
            return Err(Full);
        }
        self.items.push_back(item);
        Ok(())
    }
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_drops_its_oldest() {
        let mut ring = Ring::new(2);
        assert_eq!((ring.push(1), ring.push(2), ring.push(3)), (None, None, Some(1)));
        assert_eq!(ring.try_push(4), Err(Full));
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [2, 3]);
    }
}
