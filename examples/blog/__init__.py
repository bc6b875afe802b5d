"""A blog: posts in HTML, searched by their text; tags, and the dates on which they were published."""
