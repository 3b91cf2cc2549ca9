"""Write files whole or not at all; read those of other systems without running them."""
