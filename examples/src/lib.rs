//! Holds the examples; see the files beside this folder.
