//! Who is asking: passwords, signing keys, sessions, and the delays that guessing costs.

pub(crate) mod api_key;
pub(crate) mod delay;
pub(crate) mod email;
pub(crate) mod first_password;
pub(crate) mod key_rotation;
pub(crate) mod keyring;
pub(crate) mod password;
pub(crate) mod reset;
pub(crate) mod session;
pub(crate) mod turns;
