//! Where an object lies: in a segment of its own, named or anonymous, or inside one that exists.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Region;
use crate::layout::plain::TypeTag;
use crate::os::memory;
use crate::os::pin::Pin;
use crate::segment::directory::{Extent, Memory, ObjectKind, Wanted, check_object_name};
use crate::segment::{Keep, Segment, SegmentOptions};
use std::sync::Arc;

/// A place for an object: `"name"` is a named segment that holds just this one;
/// [`segment.at("name")`](Segment::at) is an object of a segment that holds several.
///
/// ```
/// # use mpshm::{Segment, Value};
/// let alone = Value::<i64>::create("doc-place", 5)?;
/// assert_eq!(Value::<i64>::open("doc-place")?.load(), 5);
/// Segment::unlink("doc-place")?;
///
/// let segment = Segment::anonymous(4096)?;
/// let inside = Value::<i64>::create(segment.at("a"), 6)?;
/// assert_eq!(Value::<i64>::open(segment.at("a"))?.load(), 6);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Place<'a>(Where<'a>);

#[derive(Clone, Copy, Debug)]
enum Where<'a> {
    Anonymous,
    Named(&'a str),
    Inside(&'a Segment, &'a str),
    /// The same, in a segment that nobody else has and in which nothing was ever removed.
    Fresh(&'a Segment, &'a str),
    Unnamed(&'a Segment),
    /// The object of a segment that holds just one.
    Only(&'a Segment),
}

impl<'a> From<&'a str> for Place<'a> {
    fn from(name: &'a str) -> Self {
        Self(Where::Named(name))
    }
}

impl<'a> From<&'a String> for Place<'a> {
    fn from(name: &'a String) -> Self {
        Self(Where::Named(name))
    }
}

/// An object that is mapped: its bytes, the segment that keeps them mapped, and what keeps them the object's.
#[derive(Clone)]
pub(crate) struct Object {
    pub segment: Segment,
    pub region: Region,
    /// Dropped with the last clone; a forked child has its own. None for a segment's only object.
    _keep: Option<Arc<Kept>>,
}

// SAFETY: the region lies in the segment's mapping, which the segment keeps, and is shared between
// processes anyway: every object guards its own accesses.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

/// What keeps an object's space from being used for another.
enum Kept {
    Named { _pin: Pin },
    Unnamed { _keep: Keep },
}

impl Object {
    fn at(segment: &Segment, extent: Extent) -> Result<Self> {
        let kept = extent.pin.map(|pin| Kept::Named { _pin: pin });
        Self::kept(segment, extent.offset, extent.length, kept)
    }

    fn kept(segment: &Segment, offset: u64, length: u64, kept: Option<Kept>) -> Result<Self> {
        let region = segment.region().slice(offset, length)?;
        Ok(Self { segment: segment.clone(), region, _keep: kept.map(Arc::new) })
    }
}

/// What kind of object, of which items, in how many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub kind: ObjectKind,
    pub item: TypeTag,
    pub length: u64,
}

impl<'a> Place<'a> {
    /// An anonymous segment of the object's own: what forked children inherit.
    pub(crate) const ANONYMOUS: Self = Self(Where::Anonymous);

    pub(crate) fn inside(segment: &'a Segment, name: &'a str) -> Self {
        Self(Where::Inside(segment, name))
    }

    /// The same for an object of a segment that nobody else has, and in which nothing was ever removed: its bytes are
    /// zeros already.
    pub(crate) fn fresh(segment: &'a Segment, name: &'a str) -> Self {
        Self(Where::Fresh(segment, name))
    }

    pub(crate) fn without_name(segment: &'a Segment) -> Self {
        Self(Where::Unnamed(segment))
    }

    /// An object as [`Segment::objects`] names it.
    pub(crate) fn listed(segment: &'a Segment, name: &'a str) -> Self {
        Self(if name.is_empty() { Where::Only(segment) } else { Where::Inside(segment, name) })
    }

    /// How many participants the place's segment has, or will have.
    pub(crate) fn participants(self) -> u32 {
        match self.0 {
            Where::Inside(segment, _)
            | Where::Fresh(segment, _)
            | Where::Unnamed(segment)
            | Where::Only(segment) => segment.participants_max(),
            _ => SegmentOptions::default().participants_count(),
        }
    }

    /// What a mapping of the place's segment is a multiple of.
    pub(crate) fn page_size(self) -> u64 {
        match self.0 {
            Where::Inside(segment, _)
            | Where::Fresh(segment, _)
            | Where::Unnamed(segment)
            | Where::Only(segment) => segment.page_size(),
            _ => memory::page_size(),
        }
    }

    /// Makes the object; `fill` writes its first content into zeroed bytes.
    pub(crate) fn create(
        self,
        plan: Plan,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<Object> {
        if let Where::Unnamed(segment) = self.0 {
            let wanted = Wanted { name: "", kind: plan.kind, item: plan.item };
            let (extent, keep) = segment.create_unnamed(wanted, plan.length, fill)?;
            let kept = Some(Kept::Unnamed { _keep: keep });
            return Object::kept(segment, extent.offset, extent.length, kept);
        }
        let make = |segment: &Segment, name: &str, memory| {
            let wanted = Wanted { name, kind: plan.kind, item: plan.item };
            Object::at(segment, segment.create_object(wanted, plan.length, memory, fill)?)
        };
        let own = SegmentOptions::default().objects(1);
        match self.0 {
            Where::Anonymous => make(&own.anonymous(plan.length)?, "", Memory::Fresh),
            Where::Named(name) => own
                .create_with(name, plan.length, |segment| make(segment, "", Memory::Fresh))
                .map(|(_, object)| object),
            Where::Inside(segment, name) => {
                check_object_name(name)?;
                make(segment, name, Memory::Used)
            }
            Where::Fresh(segment, name) => make(segment, name, Memory::Fresh),
            Where::Unnamed(_) => unreachable!("made above"),
            Where::Only(segment) => make(segment, "", Memory::Used),
        }
    }

    /// Opens the object, if it is what is wanted.
    pub(crate) fn open(self, kind: ObjectKind, item: TypeTag) -> Result<Object> {
        let (segment, name) = match self.0 {
            Where::Anonymous => unreachable!("nobody else knows an anonymous segment"),
            Where::Named(name) => (Segment::attach(name)?, ""),
            Where::Unnamed(_) => {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "an object without a name cannot be opened: it is had by its handle",
                ));
            }
            Where::Only(segment) => (segment.clone(), ""),
            Where::Inside(segment, name) | Where::Fresh(segment, name) => {
                check_object_name(name)?;
                (segment.clone(), name)
            }
        };
        let extent = segment.directory()?.open(Wanted { name, kind, item }).map_err(|error| {
            match self.0 {
                // The segment is there, so this is no "not found" that making it would cure.
                Where::Named(own) if error.kind() == ErrorKind::NotFound => Error::new(
                    ErrorKind::Type,
                    format!(
                        "segment '{own}' was not made as one {kind:?}: open its objects by name"
                    ),
                ),
                _ => error,
            }
        })?;
        Object::at(&segment, extent)
    }

    /// Opens with `open`, or makes with `create` what is not there; of two who do so at once, one makes it.
    pub(crate) fn open_or_create<T>(
        self,
        open: impl Fn(Self) -> Result<T>,
        create: impl Fn(Self) -> Result<T>,
    ) -> Result<T> {
        loop {
            match open(self) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other,
            }
            match create(self) {
                Err(error) if error.kind() == ErrorKind::Exists => {}
                other => return other,
            }
        }
    }
}
