//! Where a decoder's rows go: each plane is resampled as it arrives, so that no decoded picture is ever there whole.

use super::planes::{Model, Planes};
use super::{Channels, Raster, Scaler};
use crate::color::Inks;
use crate::{Format, ImageError, Region, Stage};

/// What is made of the decoded picture. Regions are in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fitting {
    pub(crate) region: Region,
    pub(crate) size: (u32, u32),
    /// Luminance and chroma are to stay apart, chroma this many times smaller; other models do not have them.
    pub(crate) apart: Option<u32>,
}

impl Fitting {
    /// All of a picture of this size, as it is.
    pub(crate) fn whole((width, height): (u32, u32)) -> Self {
        Self {
            region: Region {
                left: 0.0,
                top: 0.0,
                width: f64::from(width),
                height: f64::from(height),
            },
            size: (width, height),
            apart: None,
        }
    }
}

/// A plane as a decoder gives it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) size: (u32, u32),
    pub(crate) channels: Channels,
    /// Samples for a pixel, across and down.
    pub(crate) per_pixel: (f64, f64),
    /// Where there is half a sample for a pixel, pixels are interpolated linearly, as the standards have it. It is not so
    /// where samples are means of more pixels than that.
    pub(crate) interpolated: bool,
}

/// Takes the rows of each plane from the top down; planes may come one by one, or side by side.
pub(crate) struct Sink<'a> {
    format: Format,
    /// The size that the header said.
    expected: (u32, u32),
    fitting: Fitting,
    model: Model,
    planes: Vec<Plane>,
    /// The press that inks are for.
    pub(crate) inks: Option<Inks>,
    observe: &'a dyn Fn(Stage),
}

enum Plane {
    Arriving(Box<Scaler>),
    /// Given whole, and as it is to be.
    There(Raster),
}

impl<'a> Sink<'a> {
    pub(crate) const fn new(
        format: Format,
        expected: (u32, u32),
        fitting: Fitting,
        observe: &'a dyn Fn(Stage),
    ) -> Self {
        Self {
            format,
            expected,
            fitting,
            model: Model::Pixels,
            planes: Vec::new(),
            inks: None,
            observe,
        }
    }

    /// What is about to come.
    pub(crate) fn begin(&mut self, size: (u32, u32), model: Model, shapes: &[Shape]) -> Result<(), ImageError> {
        self.check(size)?;
        self.model = model;
        self.planes.clear();
        if !model.has_chroma() {
            self.fitting.apart = None;
        }
        for (index, shape) in shapes.iter().enumerate() {
            let (region, size) = self.fitted(index, shape.per_pixel);
            // Half chroma that stays half is not interpolated before.
            let fine = shape.interpolated && (index == 0 || self.fitting.apart.is_none());
            let doubled = (fine && shape.per_pixel.0 == 0.5, fine && shape.per_pixel.1 == 0.5);
            let scaler = Scaler::new(shape.size, shape.channels, region, size, doubled)?;
            self.planes.push(Plane::Arriving(Box::new(scaler)));
        }
        Ok(())
    }

    fn check(&self, size: (u32, u32)) -> Result<(), ImageError> {
        if size == self.expected {
            return Ok(());
        }
        Err(ImageError::corrupt(
            self.format,
            0,
            "the decoder found another size than the header says",
        ))
    }

    /// What is made of a plane: the part, in its samples, and the size.
    fn fitted(&self, index: usize, (x, y): (f64, f64)) -> (Region, (u32, u32)) {
        let Fitting { region, size, apart } = self.fitting;
        let smaller = |sampling: u32| (size.0.div_ceil(sampling), size.1.div_ceil(sampling));
        // Where the size is odd, the last chroma sample reaches over the edge.
        let reach = |to: u32, sampling: u32, full: u32| f64::from(to * sampling) / f64::from(full);
        let (to, wider) = match apart {
            Some(sampling) if index > 0 => {
                let to = smaller(sampling);
                (to, (reach(to.0, sampling, size.0), reach(to.1, sampling, size.1)))
            }
            _ => (size, (1.0, 1.0)),
        };
        let region = Region {
            left: region.left * x,
            top: region.top * y,
            width: region.width * wider.0 * x,
            height: region.height * wider.1 * y,
        };
        (region, to)
    }

    /// The next row of a plane. What comes after the last one is not looked at.
    pub(crate) fn push(&mut self, plane: usize, row: &[u8]) -> Result<(), ImageError> {
        match self.planes.get_mut(plane) {
            Some(Plane::Arriving(scaler)) if scaler.has_all() => Ok(()),
            Some(Plane::Arriving(scaler)) if scaler.completes() => {
                (self.observe)(Stage::Resample);
                scaler.push(row)?;
                (self.observe)(Stage::Decode);
                Ok(())
            }
            Some(Plane::Arriving(scaler)) => scaler.push(row),
            _ => Err(ImageError::Internal("a decoder gave rows of a plane that it has not")),
        }
    }

    /// All rows of a picture that had to be decoded whole.
    pub(crate) fn take(&mut self, raster: Raster) -> Result<(), ImageError> {
        let shape = Shape {
            size: (raster.width, raster.height),
            channels: raster.channels,
            per_pixel: (1.0, 1.0),
            interpolated: false,
        };
        if self.fitting == Fitting::whole(shape.size) {
            self.check(shape.size)?;
            // Nothing is made that would hold a second one.
            self.give(raster);
            return Ok(());
        }
        self.begin(shape.size, Model::Pixels, &[shape])?;
        (self.observe)(Stage::Resample);
        if let Some(Plane::Arriving(scaler)) = self.planes.first_mut() {
            for row in raster.data.chunks_exact(raster.stride().max(1)) {
                scaler.push(row)?;
            }
        }
        Ok(())
    }

    /// A picture that has been fitted already.
    pub(crate) fn give(&mut self, raster: Raster) {
        self.model = Model::Pixels;
        self.fitting.apart = None;
        self.planes = vec![Plane::There(raster)];
    }

    /// The planes at their new sizes, once all rows are there.
    pub(crate) fn finish(self) -> Result<Planes, ImageError> {
        let finished = |plane| match plane {
            Plane::Arriving(scaler) => scaler.finish(),
            Plane::There(raster) => Ok(raster),
        };
        Ok(Planes {
            model: self.model,
            planes: self.planes.into_iter().map(finished).collect::<Result<_, _>>()?,
            apart: self.fitting.apart.is_some(),
            inks: self.inks,
        })
    }
}
