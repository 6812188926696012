"""Models by name: ``build(input_shape, num_classes) -> nn.Module``."""
