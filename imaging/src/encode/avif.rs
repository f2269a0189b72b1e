//! AVIF through the caller's libaom.

use crate::codecs::along;
use crate::options::Compression;
use crate::pixels::Raster;
use crate::{AvifSettings, Codecs, Encoding, ImageError};

/// Pixels up to which `format=auto` chooses AVIF: a first answer may take a quarter of a second, not more.
pub(crate) const AUTOMATIC_PIXELS: u64 = 1_100_000;

/// With `compression=small`. Speed 6 takes half as much memory again, and saves nothing.
const SMALL_SPEED: u8 = 7;

/// Without. Speed 8 takes four times as long for a tenth of the bytes less.
const SPEED: u8 = 9;

/// With `compression=fast`. To libaom it is 9 under another name, to rav1e it is not.
const FAST_SPEED: u8 = 10;

pub(super) fn encode(raster: Raster, encoding: &Encoding, codecs: &dyn Codecs) -> Result<Vec<u8>, ImageError> {
    let settings = settings(encoding);
    let rgba = raster.with_alpha()?;
    Ok(codecs.avif(&rgba.data, rgba.width, rgba.height, &settings)?)
}

fn settings(encoding: &Encoding) -> AvifSettings {
    AvifSettings {
        quality: along(&QUALITY, encoding.quality),
        speed: match encoding.compression {
            Some(Compression::Fast) => FAST_SPEED,
            None => SPEED,
            Some(Compression::Small) => SMALL_SPEED,
        },
        ..AvifSettings::default()
    }
}

/// Quality as the options mean it (JPEG's scale), and libavif's number that looks alike.
///
/// Between the points, which are those of equal SSIMULACRA2 in the mean of photographs, it is a straight line. At 90 JPEG
/// begins to keep chroma whole.
const QUALITY: [(u8, u8); 9] = [
    (1, 1),
    (30, 43),
    (50, 50),
    (65, 55),
    (80, 65),
    (89, 78),
    (90, 87),
    (95, 96),
    (100, 100),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn quality_rises_and_speed_follows_compression() {
        let encoding = |quality, compression| Encoding {
            format: Format::Avif,
            quality,
            quality_given: true,
            progressive: false,
            compression,
            max_bytes: None,
            metadata: crate::options::Metadata::None,
        };
        let all: Vec<u8> = (1..=100)
            .map(|quality| settings(&encoding(quality, None)).quality)
            .collect();
        assert!(all.is_sorted());
        assert_eq!((all[0], all[79], all[99]), (1, 65, 100));
        let speed = |compression| settings(&encoding(80, compression)).speed;
        let efforts = [None, Some(Compression::Fast), Some(Compression::Small)];
        assert_eq!(efforts.map(speed), [9, 10, 7]);
    }

    #[test]
    fn it_is_the_caller_s_to_encode() {
        struct Recorder(core::cell::RefCell<Vec<(usize, u32, u32, AvifSettings)>>);
        impl Codecs for Recorder {
            fn webp(&self, _: &[u8], _: u32, _: u32, _: &crate::WebpSettings) -> Result<Vec<u8>, crate::CodecError> {
                Err(crate::CodecError::Missing("webp"))
            }
            fn avif(
                &self,
                rgba: &[u8],
                width: u32,
                height: u32,
                settings: &AvifSettings,
            ) -> Result<Vec<u8>, crate::CodecError> {
                self.0.borrow_mut().push((rgba.len(), width, height, *settings));
                Ok(b"avif".to_vec())
            }
        }
        let recorder = Recorder(Default::default());
        let source = crate::samples::png_rgba(40, 20);
        let run = |codecs: &dyn Codecs| {
            let resolved = crate::Resolved::parse("format=avif,width=20,quality=80").unwrap();
            crate::process(&source, &resolved, &crate::Limits::EDGE, codecs, &|| false)
        };
        let output = run(&recorder).unwrap();
        assert_eq!(
            (output.format, output.bytes.as_slice()),
            (Format::Avif, b"avif".as_slice())
        );
        let expected = AvifSettings {
            quality: 65,
            speed: 9,
            ..AvifSettings::default()
        };
        assert_eq!(recorder.0.into_inner(), [(20 * 10 * 4, 20, 10, expected)]);
        assert_eq!(run(&crate::NoCodecs).unwrap_err().code(), "internal");
    }

    #[test]
    fn settings_have_the_module_s_names() {
        let json = serde_json::to_value(AvifSettings::default()).unwrap();
        for name in [
            "qualityAlpha",
            "tileColsLog2",
            "chromaDeltaQ",
            "autoTiling",
            "sharpYUV",
            "bitDepth",
        ] {
            assert!(json.get(name).is_some(), "{name}");
        }
        assert_eq!(json.as_object().unwrap().len(), 13);
    }
}
