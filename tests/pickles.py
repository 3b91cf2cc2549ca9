"""Files that are damaged or ask for more than data."""

from hypothesis import strategies as st


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


FEW_BYTES = st.binary(max_size=4)


@st.composite
def damaged(draw, originals, inserted=FEW_BYTES):
    """Draw one of `originals`, cut short or with parts cut out, put in or written over."""
    data = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 5))):
        position = draw(st.integers(0, len(data)))
        data = data[:position] + draw(inserted) + data[position + draw(st.integers(0, 9)) :]
    return data[: draw(st.none() | st.integers(0, len(data)))]
