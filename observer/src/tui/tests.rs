//! Rendering: a state and a size make exactly this screen.
