"""Face recognition: backbones, the Partial FC head, margin losses, verification, IJB."""
