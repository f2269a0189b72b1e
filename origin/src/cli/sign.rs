//! `kado sign`: signs an image address, as a site's own server would.

use kado_shared::address_signature::{AddressKey, sign_address};
use std::{process::ExitCode, time::Duration};

use super::{CommandError, say};
use crate::clock::{Clock, SystemClock, unix};

/// Flags of `kado sign`.
#[derive(Debug, clap::Args)]
#[group(id = "sign")]
pub(crate) struct Args {
    /// Image address, /img/OPTIONS/SOURCE, with or without https://HOST in front.
    address: String,
    /// When it stops working: a number and s, m, h or d, such as 15m; never where it is absent.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires_in: Option<Duration>,
    /// When it stops working, in Unix seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "expires_in")]
    expires_at: Option<u64>,
    /// The key that `kado address-keys create` printed.
    #[arg(
        long,
        env = "KADO_ADDRESS_KEY",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    key: String,
}

/// Longest time that an address may be good for: 100 years.
const LONGEST: u64 = 100 * 366 * 86_400;

pub(crate) fn run(args: &Args) -> Result<ExitCode, CommandError> {
    let key = AddressKey::new(&args.key).ok_or_else(|| {
        let detail = "KADO_ADDRESS_KEY is missing or no key: 32 to 64 printable characters, such as \
                      `kado address-keys create` prints";
        CommandError::Configuration(detail.to_owned())
    })?;
    let expires = match (args.expires_at, args.expires_in) {
        (Some(at), _) => Some(at),
        (None, Some(time)) => Some(unix(SystemClock.now()).saturating_add(time.as_secs())),
        (None, None) => None,
    };
    let signed = sign_address(&args.address, &key, expires).map_err(|error| CommandError::configuration(&error))?;
    say(&signed);
    Ok(ExitCode::SUCCESS)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a number and s, m, h or d, such as 15m, at most 100 years".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (number, seconds) = match unit {
        's' => (text.strip_suffix('s'), 1),
        'm' => (text.strip_suffix('m'), 60),
        'h' => (text.strip_suffix('h'), 3_600),
        'd' => (text.strip_suffix('d'), 86_400),
        _ => (None, 0),
    };
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number
        .checked_mul(seconds)
        .filter(|seconds| (1..=LONGEST).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::parse_time;
    use std::time::Duration;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(parse_time("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse_time("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "15", "m", "0s", "-1h", "1w", "99999999999999999999d", "40000d", "ä"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
