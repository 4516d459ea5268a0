"""What the gateway says of itself: the OpenAPI description of both lanes and the page that shows it."""
