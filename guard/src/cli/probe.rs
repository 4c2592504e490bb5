//! `guardctl probe`: what each interface can do, and what would be chosen.
