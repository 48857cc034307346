"""Labels by several annotators, put together by votes that people's labels calibrate."""
