//! Upload, download and removal of segments in the object store.
