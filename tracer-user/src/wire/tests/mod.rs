//! The wire's tests: exchanges of real servers, messages one by one, and hostile bytes.

mod hostile;
mod messages;
mod recorded;
