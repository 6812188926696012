"""pytorchexample: A Flower / PyTorch app."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    """A small CNN for 8x8 pictures of four kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 3 * 3, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc(x.flatten(1))


def load_data(partition_id: int, num_partitions: int):
    """Make a partition: pictures with one bright quadrant."""
    generator = torch.Generator().manual_seed(100 + partition_id)
    num_examples = 24 + 8 * (partition_id % num_partitions)
    labels = torch.randint(0, 4, (num_examples,), generator=generator)
    images = 0.5 * torch.randn(num_examples, 1, 8, 8, generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1
    split = num_examples * 3 // 4
    shuffle = torch.Generator().manual_seed(partition_id)
    train = TensorDataset(images[:split], labels[:split])
    test = TensorDataset(images[split:], labels[split:])
    return DataLoader(train, batch_size=8, shuffle=True, generator=shuffle), DataLoader(test, batch_size=8)


def train(net, trainloader, epochs, lr, momentum):
    """Train the model on the training set."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
    net.train()
    running_loss = 0.0
    for _ in range(epochs):
        for images, labels in trainloader:
            optimizer.zero_grad()
            loss = criterion(net(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
    return running_loss / len(trainloader)


def test(net, testloader):
    """Validate the model on the test set."""
    net.eval()
    correct, loss = 0, 0.0
    with torch.no_grad():
        for images, labels in testloader:
            outputs = net(images)
            loss += F.cross_entropy(outputs, labels, reduction="sum").item()
            correct += (outputs.argmax(1) == labels).sum().item()
    return loss / len(testloader.dataset), correct / len(testloader.dataset)
