"""Finding the person in a photo: 31 joints and a mask, from MediaPipe's BlazePose and hand networks."""

from h2k_rt.person.finder import Person, PersonFinder
from h2k_rt.person.joints import visible_enough

__all__ = ["Person", "PersonFinder", "visible_enough"]
