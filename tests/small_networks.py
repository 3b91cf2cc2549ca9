"""Networks of the published kinds, small enough for tests."""

from plsc.recognition.models.face_vit import FaceViT


def small_face_vit(dim, depth, num_features, **options):
    """Return a FaceViT of so many numbers in a token and so many blocks."""
    return type("SmallFaceViT", (FaceViT,), {"dim": dim, "depth": depth})(num_features, **options)
