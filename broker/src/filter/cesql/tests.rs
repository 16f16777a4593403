mod faults;
mod kit;
mod language;
mod properties;
