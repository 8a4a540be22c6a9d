"""Networks by name: the paper's CBR family and every timm classifier, their stages, layers and catalogue."""
